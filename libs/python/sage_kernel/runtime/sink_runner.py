"""Runs a sink: writes what comes in, and makes it durable at every barrier."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from sage_kernel.foreign_errors import foreign
from sage_kernel.operator import Sink, State
from sage_kernel.runtime.elements import Barrier, Element, End
from sage_kernel.runtime.fenced_sink import TakenOverError
from sage_kernel.runtime.halving import in_pieces
from sage_kernel.runtime.inlet import NodeCut
from sage_kernel.runtime.retries import with_retries
from sage_kernel.runtime.running_node import RunningNode


class SinkRunner:
    """Writes batch after batch; a batch that cannot be written is halved until the record to blame is found."""

    def __init__(self, node: RunningNode, sink: Sink) -> None:
        self._node = node
        self._sink = sink

    def can_take(self) -> bool:
        """Return True: a slow sink holds up its inlet by itself."""
        return True

    def on_can_take(self, wake: Callable[[], None]) -> None:
        """It can at any time."""

    def begin_drain(self) -> None:
        """Nothing is held back."""

    def is_drained(self) -> bool:
        """Nothing is held back."""
        return True

    async def accept(self, element: Element, input_index: int) -> None:
        """Take an element. Raises NodeFailedError."""
        if isinstance(element, pl.DataFrame):
            self._node.came_in(element.height)
            await self._write(element)
        elif isinstance(element, End):
            self._node.participant.finish(await self._flush())

    async def on_barrier(self, barrier: Barrier) -> NodeCut:
        """Make everything written so far durable. Raises NodeFailedError."""
        return NodeCut(await self._flush())

    async def _flush(self) -> State:
        try:
            return await self._sink.flush()
        except Exception as error:
            raise self._node.failed.failed(error) from error

    async def _write(self, frame: pl.DataFrame) -> None:
        node = self._node
        for piece in await in_pieces(frame, self._attempt, node.failed):
            if piece.error is not None:
                await node.failed.put_aside(piece.frame, piece.error)
                node.changed()

    async def _attempt(self, frame: pl.DataFrame) -> None:
        async def write() -> None:
            with self._node.busy():
                await self._sink.write(frame)

        try:
            await with_retries(write, self._node.spec.retries, self._node.sleep)
        except (OSError, TakenOverError) as error:
            # The disk, the network or another run, not the records.
            raise self._node.failed.failed(error) from error
        except pl.exceptions.PanicException as error:
            raise foreign(error) from error
