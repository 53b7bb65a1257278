"""A task of a job: which splits it reads, where it runs, and how far it has come. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any

import orjson

from sage_dataflow_worker.job import NodeProgress, progress_from
from sage_kernel.operator import Split
from sage_kernel.placement.node_selection import Candidate, TaskPlacement
from sage_kernel.placement.resources import Resources, TaskNeeds
from sage_kernel.placement.tasks import TaskRole


class TaskState(Enum):
    """Where a task is in its life."""

    WAITING = "waiting"
    # A worker is to run it, and has not taken its lease yet.
    PLACED = "placed"
    RUNNING = "running"
    # It has stopped behind a checkpoint, because its job is paused.
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether it will not run again by itself."""
        return self in (TaskState.SUCCEEDED, TaskState.FAILED)

    @property
    def takes_room(self) -> bool:
        """Whether it takes a slot and resources of its worker."""
        return self in (TaskState.PLACED, TaskState.RUNNING)


@dataclass(frozen=True)
class JobTask:
    """A task as its coordinator and its worker see it.

    Attributes:
        splits: of each partitioned source; a source that is not named is read whole.
        role: what part of the graph it runs.
        handed_over: of one that merges, the tasks before it, each with the epoch under which it came to its end.
        needs: what its worker must have.
        worker_id: where it is placed or ran last.
        attempts: starts since its last checkpoint.
        epoch: of the lease under which it runs; only its holder goes on writing.
        errors: why it failed.
        placement: why it is where it is.
        progress: by node id.
        collections: records published, by collection.
        skipped, warnings: what sources left out and what nodes said, the first thousand of each.
        checkpoint: number of its last one; 0 when it has none.
        savepoint: the last savepoint of the job that it has taken.
        resumes: of the job, when it was to run last.
        left: why its last worker gave it back, where that worker cannot run it for now; empty otherwise.
    """

    job_id: str
    number: int
    splits: dict[str, Sequence[Split]] = field(default_factory=dict)
    role: TaskRole = TaskRole.WHOLE
    handed_over: tuple[tuple[int, int], ...] = ()
    needs: TaskNeeds = TaskNeeds()
    state: TaskState = TaskState.WAITING
    worker_id: str = ""
    attempts: int = 0
    epoch: int = 0
    errors: tuple[str, ...] = ()
    placement: TaskPlacement | None = None
    progress: dict[str, NodeProgress] = field(default_factory=dict)
    collections: dict[str, int] = field(default_factory=dict)
    skipped: tuple[Any, ...] = ()
    warnings: tuple[Any, ...] = ()
    checkpoint: int = 0
    savepoint: int = 0
    resumes: int = 0
    left: str = ""

    def to_json(self) -> bytes:
        """Return the stored form."""
        return orjson.dumps({**asdict(self), "state": self.state.value, "role": self.role.value})

    @classmethod
    def from_json(cls, data: bytes) -> JobTask:
        """Read the stored form; keys of a newer version are ignored."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in orjson.loads(data).items() if name in known}
        values["state"] = TaskState(values["state"])
        values["role"] = TaskRole(values.get("role", TaskRole.WHOLE.value))
        values["handed_over"] = tuple((number, epoch) for number, epoch in values.get("handed_over", ()))
        values["errors"] = tuple(values["errors"])
        values["progress"] = progress_from(values["progress"])
        needs = values["needs"]
        values["needs"] = TaskNeeds(Resources(**needs["resources"]), needs["labels"])
        if (placement := values.get("placement")) is not None:
            candidates = tuple(Candidate(**candidate) for candidate in placement["candidates"])
            values["placement"] = TaskPlacement(placement["worker_id"], placement["reason"], candidates)
        for name in ("skipped", "warnings"):
            values[name] = tuple(tuple(item) for item in values[name])
        return cls(**values)


def summed_progress(tasks: Iterable[JobTask]) -> dict[str, NodeProgress]:
    """Return progress by node over all tasks; a watermark is the earliest of the tasks that have not ended."""
    total: dict[str, NodeProgress] = {}
    for task in tasks:
        for node, counts in task.progress.items():
            known = total.get(node, NodeProgress(0, 0))
            watermarks = [known.watermark_unix_ms, None if task.state.ended else counts.watermark_unix_ms]
            total[node] = NodeProgress(
                known.records_in + counts.records_in,
                known.records_out + counts.records_out,
                known.records_failed + counts.records_failed,
                watermark_unix_ms=min((at for at in watermarks if at is not None), default=None),
            )
    return total
