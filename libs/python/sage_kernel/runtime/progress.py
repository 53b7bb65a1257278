"""What a run reports, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sage_kernel.operator import Record
from sage_kernel.run_context import DeadLetter, Skipped


@dataclass
class NodeCounts:
    """Counts of one node.

    Attributes:
        records_in: records taken in.
        records_out: records emitted.
        records_late: records whose window had been given out; they leave by the output ``late`` where it is taken.
        records_failed: records left out or kept as dead letters, by the node's ``on_error``.
        records_dropped: those of them that nobody takes, since nothing is connected to the output ``late``.
        records_queued: records that wait in front of the node now.
        watermark_us: the last watermark that it sent, in microseconds since 1970-01-01 UTC; None before the first.
        state_bytes: the size of its state in the last checkpoint.
        busy_seconds: time spent in the operator, summed over its concurrent calls.
    """

    records_in: int = 0
    records_out: int = 0
    records_late: int = 0
    records_failed: int = 0
    records_dropped: int = 0
    records_queued: int = 0
    watermark_us: int | None = None
    state_bytes: int = 0
    busy_seconds: float = 0.0


# Called with a node's id and its counts after each change; it must not block and must not keep the counts.
OnProgress = Callable[[str, NodeCounts], None]


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        collections: records of the collection sinks, by name.
        counts: by node.
        dead_letters: the first ``MAX_DEAD_LETTERS`` of them; the nodes' ``records_failed`` count all.
        skipped: what sources left out.
        warnings: node and message.
        seconds: how long the run took.
        is_stopped: it was stopped with a savepoint before its end.
    """

    collections: dict[str, list[Record]]
    counts: dict[str, NodeCounts]
    dead_letters: list[DeadLetter] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    is_stopped: bool = False


MAX_DEAD_LETTERS = 1000
