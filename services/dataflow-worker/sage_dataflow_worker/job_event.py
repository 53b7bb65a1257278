"""What happened to a job: found by comparing what is stored of it with what was before. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from enum import Enum

import orjson

from sage_dataflow_worker.job import Job, NodeProgress, progress_from
from sage_dataflow_worker.job_task import JobTask
from sage_platform import subjects

# Enough for what people read; the job itself has all of its errors.
_REASON_CHARACTERS = 2000


class EventKind(Enum):
    """What an event tells of. Each has a subject of its own, so that many of one kind push out none of another."""

    STATE = "state"
    TASK = "task"
    CHECKPOINT = "checkpoint"
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job or to one of its tasks.

    Attributes:
        unix_ms: milliseconds since 1970-01-01 UTC.
        state: of the job, or of the task where there is one, from now on.
        task: number of the task; None for what happened to the job.
        worker_id: where it happened.
        reason: errors, what it waits for, or why the task is where it is.
        attempts: starts so far; of a task, those since its last checkpoint.
        checkpoint: number of the task's last one; 0 when it has none.
        progress: by node; only of the kind PROGRESS.
    """

    job_id: str
    kind: EventKind
    unix_ms: int
    state: str
    task: int | None = None
    worker_id: str = ""
    reason: str = ""
    attempts: int = 0
    checkpoint: int = 0
    progress: dict[str, NodeProgress] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """Where it is published."""
        return subjects.job_events(self.job_id, self.kind.value, self.task)

    def to_json(self) -> bytes:
        """Return the published form."""
        return orjson.dumps({**asdict(self), "kind": self.kind.value})

    @classmethod
    def from_json(cls, data: bytes) -> JobEvent:
        """Read the published form; keys of a newer version are ignored."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in orjson.loads(data).items() if name in known}
        values["kind"] = EventKind(values["kind"])
        values["progress"] = progress_from(values["progress"])
        return cls(**values)


def job_events(before: Job | None, after: Job) -> Iterator[JobEvent]:
    """Yield what has happened between two stored forms of a job; None: the earlier one is not known."""

    def told(kind: EventKind, reason: str = "", progress: dict[str, NodeProgress] | None = None) -> JobEvent:
        return JobEvent(
            after.job_id,
            kind,
            after.updated_unix_ms,
            after.state.name.lower(),
            worker_id=after.worker_id,
            reason=reason[:_REASON_CHARACTERS],
            attempts=after.attempts,
            progress=progress or {},
        )

    if after.progress and (before is None or before.progress != after.progress):
        yield told(EventKind.PROGRESS, progress=after.progress)
    if before is None or _standing(before) != _standing(after):
        is_planned = after.tasks > 0 and (before is None or before.tasks != after.tasks)
        yield told(EventKind.STATE, "; ".join(after.errors) or after.waiting or (after.plan if is_planned else ""))


def task_events(before: JobTask | None, after: JobTask, unix_ms: int) -> Iterator[JobEvent]:
    """Yield what has happened between two stored forms of a task; None: the earlier one is not known."""

    def told(kind: EventKind, reason: str = "") -> JobEvent:
        return JobEvent(
            after.job_id,
            kind,
            unix_ms,
            after.state.value,
            task=after.number,
            worker_id=after.worker_id,
            reason=reason[:_REASON_CHARACTERS],
            attempts=after.attempts,
            checkpoint=after.checkpoint,
        )

    if after.checkpoint > (before.checkpoint if before else 0):
        yield told(EventKind.CHECKPOINT)
    placed = after.placement.reason if after.placement else ""
    was_placed = before.placement.reason if before and before.placement else ""
    is_placed_anew = placed != was_placed and not after.state.ended
    if before is None or is_placed_anew or (before.state, before.worker_id) != (after.state, after.worker_id):
        yield told(EventKind.TASK, "; ".join(after.errors) or after.left or (placed if is_placed_anew else ""))


def _standing(job: Job) -> tuple[object, ...]:
    return job.state, job.worker_id, job.waiting, job.errors, job.tasks, job.resumes
