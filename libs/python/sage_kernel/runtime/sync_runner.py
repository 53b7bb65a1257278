"""Runs an operator that does not wait: inline, in the task of whoever sends to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.operator import DelayedOutput, Emission, State, StatefulOperator, Transform
from sage_kernel.runtime.elements import START_OF_TIME_US, Barrier, Element, End, Watermark
from sage_kernel.runtime.halving import in_pieces
from sage_kernel.runtime.inlet import NodeCut
from sage_kernel.runtime.memory_guard import MemoryGuard
from sage_kernel.runtime.off_loop import OffLoop
from sage_kernel.runtime.running_node import RunningNode

# What a call at the end works on: there is one only, and it may be long.
_MANY = 1_000_000


class SyncRunner:
    """Calls the operator for every batch and mark, and sends on what it gives out. A record that makes a batch fail is
    found by halving the batch."""

    def __init__(
        self, node: RunningNode, operator: Transform | StatefulOperator, memory: MemoryGuard | None = None
    ) -> None:
        self._node = node
        self._memory = memory
        self._stateful = operator if isinstance(operator, StatefulOperator) else None
        self._transform = operator if isinstance(operator, Transform) else None
        self._outlet = node.outlet
        self._off_loop = OffLoop(node.clock, self._spent)
        self._time_us = START_OF_TIME_US

    def restore(self, state: State) -> None:
        """Take up the state of a checkpoint."""
        if self._stateful is not None:
            self._stateful.restore(state)

    def can_take(self) -> bool:
        """Return whether the nodes behind have room."""
        return self._outlet.has_room()

    def on_can_take(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when they may have."""
        self._outlet.on_room(wake)

    def has_room(self, input_index: int) -> bool:
        """Return whether the nodes behind have room: nothing waits in here."""
        return self._outlet.has_room()

    def on_room(self, input_index: int, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when they may have."""
        self._outlet.on_room(wake)

    def begin_drain(self) -> None:
        """Nothing is held back."""

    def is_drained(self) -> bool:
        """Nothing is held back."""
        return True

    async def accept(self, element: Element, input_index: int) -> None:
        """Process an element. Raises NodeFailedError."""
        if isinstance(element, pl.DataFrame):
            self._node.came_in(element.height)
            self._check_memory()
            await self._process(element, input_index)
        elif isinstance(element, Barrier):
            cut = await self.on_barrier(element)
            self._node.participant.acknowledge(element.checkpoint, cut.state)
        elif isinstance(element, Watermark):
            # An idle mark may bring news of time too: where all inputs have fallen idle.
            if self._stateful is not None and element.time_us > self._time_us:
                self._time_us = element.time_us
                time_us = element.time_us
                stateful = self._stateful
                await self._call_timed("watermark", 1, lambda: stateful.on_watermark(time_us))
            await self._outlet.mark(self._behind(element))
        elif isinstance(element, End):
            if self._stateful is not None:
                await self._call_timed("end", _MANY, self._stateful.on_end)
            self._node.participant.finish(self._snapshot())
            await self._outlet.mark(element)

    async def on_barrier(self, barrier: Barrier) -> NodeCut:
        """Take the state and send the barrier on."""
        cut = NodeCut(self._snapshot())
        await self._outlet.mark(barrier)
        return cut

    async def end_again(self, state: State) -> None:
        """Do again what the end of a finished operator did for others, such as offering its index; emit nothing."""
        if self._stateful is not None:
            self._stateful.restore(state)
            await self._off_loop.call("end", _MANY, self._stateful.on_end)

    def _check_memory(self) -> None:
        """Raise NodeFailedError, whatever ``on_error`` says: the records are not to blame."""
        if self._memory is not None and self._stateful is not None:
            try:
                self._memory.check(self._stateful)
            except UnprocessableError as error:
                raise self._node.failed.failed(error) from error

    async def _call_timed(self, kind: str, records: int, call: Callable[[], Sequence[Emission]]) -> None:
        try:
            emissions = await self._off_loop.call(kind, records, call)
        except Exception as error:
            raise self._node.failed.failed(error) from error
        await self._outlet.emit_all(emissions)

    async def _process(self, frame: pl.DataFrame, input_index: int) -> None:
        async def call(piece: pl.DataFrame) -> Sequence[Emission]:
            return await self._off_loop.call("batch", piece.height, lambda: self._call(piece, input_index))

        node = self._node
        for piece in await in_pieces(frame, call, node.failed, lambda failed: self._to_blame(failed, input_index)):
            if piece.error is not None:
                await node.failed.put_aside(piece.frame, piece.error)
                node.changed()
            else:
                await self._outlet.emit_all(piece.result or ())

    def _to_blame(self, frame: pl.DataFrame, input_index: int) -> pl.DataFrame | None:
        """Return the first record that fails by itself. The state is of no more use: the run ends."""
        while frame.height > 1:
            half = frame.height // 2
            for piece in (frame[:half], frame[half:]):
                try:
                    self._call(piece, input_index)
                except Exception:  # the error that is reported is the first one
                    frame = piece
                    break
            else:
                return None
        return frame

    def _call(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        if self._stateful is not None:
            return self._stateful.on_batch(frame, input_index)
        assert self._transform is not None
        return (Emission(self._transform.apply(frame)),)

    def _spent(self, seconds: float) -> None:
        self._node.counts.busy_seconds += seconds

    def _behind(self, watermark: Watermark) -> Watermark:
        if isinstance(self._stateful, DelayedOutput):
            return watermark._replace(time_us=self._stateful.watermark_behind(watermark.time_us))
        return watermark

    def _snapshot(self) -> State:
        if self._stateful is None:
            return State()
        state = self._stateful.snapshot()
        self._node.counts.state_bytes = sum(int(frame.estimated_size()) for frame in state.frames.values())
        return state
