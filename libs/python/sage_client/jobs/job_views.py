"""Jobs in plain values. ``dataclasses.asdict`` of each is its JSON in REST and ``--json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class NodeProgressView:
    """Counts of one node, summed over the tasks of its job.

    Attributes:
        records_total: records that it will have given out at its end; None where that is not known.
        watermark_unix_ms: everything that happened before is through; None without event time.
    """

    node_id: str
    records_in: int
    records_out: int
    records_failed: int
    records_total: int | None = None
    watermark_unix_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and how far it has come.

    Attributes:
        state: pending, running, paused, succeeded, failed or cancelled.
        errors: all of them, each naming node, field and remedy.
        progress: in the order of the pipeline's nodes.
        created_unix_ms, updated_unix_ms: milliseconds since 1970-01-01 UTC.
        spec_hash: SHA-256 of the canonical pipeline, in hexadecimal.
        attempts: how often a worker has started it.
        waiting: why it does not go on; empty where it does.
        tasks: how many it has; 0 while it is not planned.
        plan: why it has as many.
    """

    job_id: str
    pipeline: str
    state: str
    errors: tuple[str, ...] = ()
    progress: tuple[NodeProgressView, ...] = ()
    worker_id: str = ""
    created_unix_ms: int = 0
    updated_unix_ms: int = 0
    spec_hash: str = ""
    attempts: int = 0
    waiting: str = ""
    tasks: int = 0
    plan: str = ""

    @property
    def ended(self) -> bool:
        """Whether it is in a final state."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class JobEventView:
    """Something that happened to a job or to one of its tasks.

    Attributes:
        sequence: place in the stream, to go on behind it.
        kind: state, task, checkpoint or progress.
        unix_ms: milliseconds since 1970-01-01 UTC.
        state: of the job, or of the task where there is one, from then on.
        task: number of the task; None for what happened to the job.
        reason: errors, what it waits for, or why the task is where it is.
        attempts: starts so far; of a task, those since its last checkpoint.
        checkpoint: number of the task's last one; 0 when it has none.
        progress: only of the kind progress.
    """

    sequence: int
    kind: str
    unix_ms: int
    state: str
    task: int | None = None
    worker_id: str = ""
    reason: str = ""
    attempts: int = 0
    checkpoint: int = 0
    progress: tuple[NodeProgressView, ...] = ()


@dataclass(frozen=True, slots=True)
class JobResumption:
    """A job that goes on, or would, and what becomes of the state of each of its nodes, a line each."""

    job: JobView
    plan: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskCandidateView:
    """A worker that was considered for a task: refused, or scored (higher is better)."""

    worker_id: str
    refusal: str
    score: float


@dataclass(frozen=True, slots=True)
class TaskView:
    """A part of a job that runs on one worker.

    Attributes:
        state: waiting, placed, running, paused, succeeded or failed.
        attempts: starts since its last checkpoint.
        checkpoint: number of its last checkpoint; 0 when it has none.
        reason: why it is where it is, or nowhere.
        candidates: workers that were considered, the best first.
        splits: what it reads, by source.
    """

    number: int
    state: str
    worker_id: str
    attempts: int
    checkpoint: int
    reason: str
    candidates: tuple[TaskCandidateView, ...] = ()
    splits: dict[str, Any] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobExplanation:
    """A job and where its tasks are, and why there."""

    job: JobView
    tasks: tuple[TaskView, ...]


@dataclass(frozen=True, slots=True)
class ResultPiece:
    """Records of one collection as they were published.

    Attributes:
        sequence: place in the stream, to go on behind it.
        first: position of the first record among those of its task and collection.
        end: what a job that succeeded says of itself in the last piece, which has no records; None in the others.
    """

    sequence: int
    collection: str
    task: int
    first: int
    records: list[Any]
    end: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterView:
    """A record that failed at a node; no node where it is a whole job."""

    sequence: int
    node_id: str
    error: str
    attempts: int
    spec_hash: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Some of the dead letters of a job, oldest first, and how many there are in all."""

    letters: tuple[DeadLetterView, ...]
    total: int


@dataclass(frozen=True, slots=True)
class JobReplay:
    """The new job that takes up records where they failed, and how many it has."""

    job: JobView
    records: int
