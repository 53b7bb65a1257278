"""A checkpoint: the state of every node at one cut through the streams, and where it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sage_kernel.operator import State


@dataclass(frozen=True)
class NodeCheckpoint:
    """What one node needs in order to go on.

    Attributes:
        op: the node's operator: a state is never given to another kind.
        state: its state; that of a source is its position.
        is_finished: it has given out everything and will not run again.
        inbox: what it had been sent but not let out yet; see ``sage_kernel.runtime.inbox``.
    """

    op: str
    state: State = field(default_factory=State)
    is_finished: bool = False
    inbox: State = field(default_factory=State)


@dataclass(frozen=True)
class Checkpoint:
    """One cut through a run.

    Attributes:
        number: counts the checkpoints of a run, from 1.
        spec_hash: of the pipeline that made it.
        nodes: by node id.
        is_final: every node has finished; what is left is to publish results.
    """

    number: int
    spec_hash: str
    nodes: Mapping[str, NodeCheckpoint]
    is_final: bool = False


class CheckpointStore(Protocol):
    """Where the checkpoints of one run are kept."""

    async def save(self, checkpoint: Checkpoint) -> None:
        """Keep ``checkpoint``, whole or not at all. Raises SageError or OSError; the one before stays then."""
        ...

    async def latest(self) -> Checkpoint | None:
        """Return the last one that was saved."""
        ...

    async def discard(self) -> None:
        """Drop all of them: the run has succeeded and its results are where they belong."""
        ...


class NoCheckpoints:
    """Keeps nothing."""

    async def save(self, checkpoint: Checkpoint) -> None:
        """Drop it."""

    async def latest(self) -> Checkpoint | None:
        """Return None."""
        return None

    async def discard(self) -> None:
        """There is none."""
