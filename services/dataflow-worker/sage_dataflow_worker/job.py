"""A job: a pipeline on its way, and the rules by which its state changes. No I/O."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum

import orjson

from sage_mesh.inference_request import DEFAULT_TENANT

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class JobState(Enum):
    """Where a job is in its life; the values are those of the wire."""

    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5
    # Its tasks have stopped, or are about to, each behind a checkpoint; it goes on when it is resumed.
    PAUSED = 6

    @property
    def ended(self) -> bool:
        """Whether this is a final state."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class NodeProgress:
    """Records that went into and out of a node so far, and those that it could not process.

    Attributes:
        records_total: records that it will have given out at its end; None where that is not known.
        watermark_unix_ms: everything that happened before is through; None without event time.
    """

    records_in: int
    records_out: int
    records_failed: int = 0
    records_total: int | None = None
    watermark_unix_ms: int | None = None


@dataclass(frozen=True)
class Job:
    """A job as its callers see it.

    Attributes:
        job_id: unique id.
        pipeline: name of the pipeline; empty when it could not be read.
        state: where it is.
        errors: all of them; empty unless it failed.
        progress: by node id.
        worker_id: who runs or ran it.
        created_unix_ms, updated_unix_ms: milliseconds since 1970-01-01 UTC.
        spec_hash: SHA-256 of the canonical pipeline.
        attempts: how often a worker has started it.
        message: stream sequence of the message that carries it; 0 when none is known to.
        tenant: whose job it is.
        waiting: why it does not go on, where it does not: no worker can take a task of it, for one.
        tasks: how many it has; 0 while it is not planned.
        plan: why it has as many.
        resumes: how often it was resumed after a pause or a failure.
        savepoint: counts the savepoints that were asked for.
        traceparent: W3C trace context of its submission; empty for none.
    """

    job_id: str
    pipeline: str
    state: JobState
    created_unix_ms: int
    updated_unix_ms: int
    errors: tuple[str, ...] = ()
    progress: dict[str, NodeProgress] = field(default_factory=dict)
    worker_id: str = ""
    spec_hash: str = ""
    attempts: int = 0
    message: int = 0
    tenant: str = DEFAULT_TENANT
    waiting: str = ""
    tasks: int = 0
    plan: str = ""
    resumes: int = 0
    savepoint: int = 0
    traceparent: str = ""

    def to_json(self) -> bytes:
        """Return the stored form."""
        return orjson.dumps({**asdict(self), "state": self.state.name})

    @classmethod
    def from_json(cls, data: bytes) -> Job:
        """Read the stored form; keys of a newer version are ignored."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in orjson.loads(data).items() if name in known}
        values["state"] = JobState[values["state"]]
        values["errors"] = tuple(values["errors"])
        values["progress"] = progress_from(values["progress"])
        return cls(**values)

    def ended_as(self, state: JobState, now_ms: int, errors: tuple[str, ...] = ()) -> Job:
        """Return this job, ended."""
        return replace(self, state=state, errors=errors, updated_unix_ms=now_ms, waiting="")


def progress_from(stored: dict[str, dict[str, int]]) -> dict[str, NodeProgress]:
    """Read the stored form of progress by node; keys of a newer version are ignored."""
    known = {item.name for item in fields(NodeProgress)}
    return {
        node: NodeProgress(**{name: count for name, count in counts.items() if name in known})
        for node, counts in stored.items()
    }


class Claim(Enum):
    """What a worker does with a delivered job."""

    RUN = "run"
    # It has ended, or another message carries it: acknowledge the message and do nothing.
    DROP = "drop"
    # It was started too often and never ended.
    GIVE_UP = "give up"


def claim(stored: Job | None, message: int, max_attempts: int) -> Claim:
    """Decide what to do with a delivery.

    Args:
        stored: the job's state, if there is one.
        message: stream sequence of the delivered message.
    """
    if stored is None:
        return Claim.RUN
    if stored.state.ended or stored.state is JobState.PAUSED or stored.message not in (0, message):
        return Claim.DROP
    # Once it is planned the starts of its tasks are what counts: they go on while coordinators come and go.
    return Claim.GIVE_UP if stored.attempts >= max_attempts and not stored.tasks else Claim.RUN


def is_job_id(text: str) -> bool:
    """Say whether ``text`` may name a job: letters, digits, ``.``, ``_``, ``-``; at most 128."""
    return _JOB_ID.fullmatch(text) is not None
