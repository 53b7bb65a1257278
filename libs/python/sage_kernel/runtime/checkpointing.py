"""Checkpoints of a running pipeline: barriers go in at the sources, states come back from every node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sage_common.errors import ConflictError
from sage_common.logging import get_logger
from sage_kernel.operator import State
from sage_kernel.run_context import Sleep
from sage_kernel.runtime.inbox import Inbox
from sage_kernel.state.checkpoint import Checkpoint, CheckpointStore, NodeCheckpoint

log = get_logger(__name__)


class BarrierSource(Protocol):
    """Where a barrier begins: a source sends it between two batches, an inlet takes it where its senders have ended."""

    def request_barrier(self, checkpoint: int) -> None:
        """Begin the barrier of this checkpoint as soon as possible; nothing happens where the node has ended."""
        ...


@dataclass
class _Cut:
    number: int
    nodes: dict[str, NodeCheckpoint] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class Checkpointer:
    """Takes checkpoints of one run.

    Args:
        store: where they go.
        ops: the operator of every node, by node id.
    """

    def __init__(self, store: CheckpointStore, spec_hash: str, ops: Mapping[str, str]) -> None:
        self._store = store
        self._spec_hash = spec_hash
        self._ops = ops
        self._number = 0
        self._finished: dict[str, NodeCheckpoint] = {}
        self._cut: _Cut | None = None
        self._origins: list[BarrierSource] = []
        self._is_closed = False
        self._one_at_a_time = asyncio.Lock()

    def count_from(self, number: int) -> None:
        """Give the next checkpoint the number after ``number``: that of the one that the run goes on from."""
        self._number = number

    def add_origin(self, origin: BarrierSource) -> None:
        """Add a source, or an inlet, of the run."""
        self._origins.append(origin)

    async def run(self, interval_seconds: float, sleep: Sleep) -> None:
        """Take checkpoints until cancelled. One that cannot be written is logged, and the next one tried."""
        while True:
            await sleep(interval_seconds)
            try:
                await self.take()
            except Exception as error:  # whatever the store raises, its server's own errors too
                log.warning("checkpoint not written; the last one stays", error=str(error) or repr(error))

    async def take(self) -> Checkpoint:
        """Take a checkpoint and return it when it is kept.

        Raises:
            ConflictError: the run has ended.
            SageError, OSError: the store could not keep it.
        """
        async with self._one_at_a_time:
            if self._is_closed:
                raise ConflictError("the run has ended, so that there is nothing to take a checkpoint of")
            self._number += 1
            cut = self._cut = _Cut(self._number, dict(self._finished))
            for origin in self._origins:
                origin.request_barrier(cut.number)
            self._look(cut)
            try:
                await cut.complete.wait()
            finally:
                self._cut = None
            if len(cut.nodes) < len(self._ops):
                raise ConflictError("the run ended before the checkpoint was complete")
            return await self._save(cut)

    async def finish(self) -> Checkpoint:
        """Keep the last checkpoint of a run whose nodes have all finished. Raises as the store does."""
        async with self._one_at_a_time:
            self._number += 1
            return await self._save(_Cut(self._number, dict(self._finished)), is_final=True)

    def close(self) -> None:
        """Take no more: the run ends. Whoever waits for a checkpoint is told."""
        self._is_closed = True
        if self._cut is not None:
            self._cut.complete.set()

    def acknowledge(self, node_id: str, checkpoint: int, state: State, inbox: Inbox) -> None:
        """Take the state of a node at its barrier."""
        cut = self._cut
        if cut is not None and cut.number == checkpoint:
            cut.nodes[node_id] = NodeCheckpoint(self._ops[node_id], state, inbox=inbox.state)
            self._look(cut)

    def node_finished(self, node_id: str, state: State) -> None:
        """Take the last state of a node that has given out everything."""
        self._finished[node_id] = NodeCheckpoint(self._ops[node_id], state, is_finished=True)
        if self._cut is not None:
            self._cut.nodes.setdefault(node_id, self._finished[node_id])
            self._look(self._cut)

    async def _save(self, cut: _Cut, *, is_final: bool = False) -> Checkpoint:
        checkpoint = Checkpoint(cut.number, self._spec_hash, cut.nodes, is_final)
        await self._store.save(checkpoint)
        return checkpoint

    def _look(self, cut: _Cut) -> None:
        if len(cut.nodes) == len(self._ops):
            cut.complete.set()


@dataclass(frozen=True)
class Participant:
    """A node's end of its checkpoints."""

    node_id: str
    checkpointer: Checkpointer

    def acknowledge(self, checkpoint: int, state: State, inbox: Inbox | None = None) -> None:
        """Give the node's state at the barrier of ``checkpoint``, and what waited in front of it."""
        self.checkpointer.acknowledge(self.node_id, checkpoint, state, inbox or Inbox())

    def finish(self, state: State) -> None:
        """Say that the node has given out everything; ``state`` is what its results need to be published."""
        self.checkpointer.node_finished(self.node_id, state)
