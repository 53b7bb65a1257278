"""Runs an operator that waits for models or the network: many calls at once, results as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import polars as pl

from sage_kernel.operator import AsyncOperator, LooksAhead, State
from sage_kernel.runtime.elements import Barrier, Element, End, Watermark
from sage_kernel.runtime.halving import in_pieces
from sage_kernel.runtime.in_flight import Call, CallOutcome, FailedSlice, InFlight
from sage_kernel.runtime.inlet import NodeCut
from sage_kernel.runtime.retries import with_retries
from sage_kernel.runtime.running_node import RunningNode
from sage_kernel.runtime.slice_buffer import SliceBuffer
from sage_kernel.runtime.task_scope import TaskScope


class AsyncRunner:
    """Calls the operator with slices of what comes in.

    A watermark leaves when all records before it have left. A barrier leaves at once: the records that are still
    on their way belong to the checkpoint, and go in again after a restart (as Flink's asynchronous operator does).
    No call begins while a node behind has no room.

    Attributes:
        has_more: whether further records wait in the queue, so that a small slice is worth holding back.
    """

    def __init__(self, node: RunningNode, operator: AsyncOperator, scope: TaskScope) -> None:
        self._node = node
        self._spec = node.spec
        self._operator = operator
        self._most_calls = node.spec.concurrency + (operator.calls_ahead if isinstance(operator, LooksAhead) else 0)
        self._outlet = node.outlet
        self._scope = scope
        # Held while something leaves, so that a barrier never comes between two halves of a result.
        self._leaving = asyncio.Lock()
        self._in_flight = InFlight()
        self._buffer = SliceBuffer(operator.batch_records)
        self._lingering: asyncio.Task[None] | None = None
        self._is_draining = False
        self._wake: Callable[[], None] = lambda: None
        self.has_more: Callable[[], bool] = lambda: False

    @property
    def calls(self) -> int:
        """How many calls have begun whose results have not left."""
        return self._in_flight.calls

    def can_take(self) -> bool:
        """Return whether less than a slice waits, and a call for it could begin."""
        return self._buffer.records < self._buffer.most and self._may_call()

    def on_can_take(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever a call has ended or a node behind may have room."""
        self._wake = wake
        self._outlet.on_room(self._go_on)

    def begin_drain(self) -> None:
        """Wait for full slices no more."""
        self._is_draining = True
        self._go_on()

    def is_drained(self) -> bool:
        """Return whether everything has left."""
        return not len(self._in_flight) and not len(self._buffer)

    async def accept(self, element: Element, input_index: int) -> None:
        """Take an element."""
        if isinstance(element, pl.DataFrame):
            self._node.came_in(element.height)
            self._buffer.put(element)
        elif isinstance(element, Watermark):
            self._buffer.put(element)
        elif isinstance(element, End):
            # The last watermark may still be leaving: a slow operator behind closes its windows in a thread.
            async with self._leaving:
                self._node.participant.finish(State())
                await self._outlet.mark(element)
        self._call_slices()

    async def on_barrier(self, barrier: Barrier) -> NodeCut:
        """Send the barrier on, and return what is on its way."""
        async with self._leaving:
            in_flight = [*self._in_flight.elements(), *self._buffer.elements()]
            await self._outlet.mark(barrier)
        return NodeCut(State(), in_flight)

    def _may_call(self) -> bool:
        return self._in_flight.calls < self._most_calls and self._outlet.has_room()

    def _go_on(self) -> None:
        self._call_slices()
        self._wake()

    def _call_slices(self, *, linger_is_over: bool = False) -> None:
        while len(self._buffer) and self._may_call():
            is_small = 0 < self._buffer.records < self._buffer.most
            if is_small and not self._is_draining and not linger_is_over:
                if self._operator.linger_seconds > 0:
                    self._linger()
                    return
                if self.has_more():
                    return
            frame, watermark = self._buffer.take()
            if frame is not None:
                self._scope.spawn(self._run(self._in_flight.begin(frame)), "call")
            if watermark is not None:
                self._in_flight.add_watermark(watermark)
                if self._in_flight.calls == 0:
                    self._scope.spawn(self._release_watermark(), "watermark")

    def _linger(self) -> None:
        if self._lingering is None or self._lingering.done():
            self._lingering = self._scope.spawn(self._call_after_linger(), "linger")

    async def _call_after_linger(self) -> None:
        await self._node.sleep(self._operator.linger_seconds)
        self._lingering = None
        self._call_slices(linger_is_over=True)
        self._wake()

    async def _run(self, call: Call) -> None:
        outcome = await self._process(call.frame)
        async with self._leaving:
            call.outcome = outcome
            # The slot is free when the result has left: a slow node behind, or the first in order, slows this one.
            leaving = call if not self._spec.ordered else self._in_flight.first_done()
            while leaving is not None:
                await self._let_out(leaving)
                leaving = self._in_flight.first_done() if self._spec.ordered else None
        self._go_on()

    async def _let_out(self, call: Call) -> None:
        assert call.outcome is not None
        for frame, error in call.outcome.failed:
            await self._node.failed.put_aside(frame, error)
        await self._outlet.emit(call.outcome.result)
        self._node.changed()
        self._in_flight.finish(call)
        await self._mark_front()

    async def _release_watermark(self) -> None:
        async with self._leaving:
            await self._mark_front()
        self._go_on()

    async def _mark_front(self) -> None:
        while (watermark := self._in_flight.next_watermark()) is not None:
            await self._outlet.mark(watermark)

    async def _process(self, frame: pl.DataFrame) -> CallOutcome:
        pieces = await in_pieces(frame, self._attempt, self._node.failed)
        if len(pieces) == 1 and pieces[0].result is not None:
            return CallOutcome(pieces[0].result)
        kept = [piece.result for piece in pieces if piece.result is not None and piece.result.height]
        failed = [FailedSlice(piece.frame, piece.error) for piece in pieces if piece.error is not None]
        return CallOutcome(pl.concat(kept, how="vertical") if kept else frame.clear(), failed)

    async def _attempt(self, frame: pl.DataFrame) -> pl.DataFrame:
        async def process() -> pl.DataFrame:
            with self._node.busy():
                return await self._operator.process(frame)

        return await with_retries(process, self._spec.retries, self._node.sleep)
