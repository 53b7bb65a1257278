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

    @property
    def ended(self) -> bool:
        """Whether this is a final state."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class NodeProgress:
    """Records that went into and out of a node so far."""

    records_in: int
    records_out: int


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
        message: stream sequence of the message that carries it; 0 when none does.
        tenant: whose job it is.
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
        values["progress"] = {node: NodeProgress(**counts) for node, counts in values["progress"].items()}
        return cls(**values)

    def ended_as(self, state: JobState, now_ms: int, errors: tuple[str, ...] = ()) -> Job:
        """Return this job, ended."""
        return replace(self, state=state, errors=errors, updated_unix_ms=now_ms)


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
    if stored.state.ended or stored.message not in (0, message):
        return Claim.DROP
    return Claim.GIVE_UP if stored.attempts >= max_attempts else Claim.RUN


def is_job_id(text: str) -> bool:
    """Say whether ``text`` may name a job: letters, digits, ``.``, ``_``, ``-``; at most 128."""
    return _JOB_ID.fullmatch(text) is not None
