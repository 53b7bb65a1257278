"""Runs an operator that does not wait: inline, in the task of whoever sends to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from sage_common.clock import Clock
from sage_kernel.operator import DelayedOutput, Emission, State, StatefulOperator, Transform
from sage_kernel.runtime.checkpointing import Participant
from sage_kernel.runtime.elements import Barrier, Element, End, Watermark
from sage_kernel.runtime.failures import FailedRecords
from sage_kernel.runtime.outlet import Outlet
from sage_kernel.runtime.progress import NodeCounts


class SyncRunner:
    """Calls the operator for every batch and mark, and sends on what it gives out. The operator's first failure in a
    batch is found by halving the batch."""

    def __init__(
        self,
        operator: Transform | StatefulOperator,
        outlet: Outlet,
        counts: NodeCounts,
        failed: FailedRecords,
        participant: Participant,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._operator = operator
        self._outlet = outlet
        self._counts = counts
        self._failed = failed
        self._participant = participant
        self._clock = clock
        self._changed = changed

    def restore(self, state: State) -> None:
        """Take up the state of a checkpoint."""
        if isinstance(self._operator, StatefulOperator):
            self._operator.restore(state)

    async def accept(self, element: Element, input_index: int) -> None:
        """Process an element. Raises NodeFailedError."""
        if isinstance(element, pl.DataFrame):
            self._counts.records_in += element.height
            self._changed()
            await self._process(element, input_index)
        elif isinstance(element, Barrier):
            await self._participant.acknowledge(element.checkpoint, self._snapshot())
            await self._outlet.mark(element)
        elif isinstance(element, Watermark):
            if not element.is_idle and isinstance(self._operator, StatefulOperator):
                await self._outlet.emit_all(self._timed(self._operator.on_watermark, element.time_us))
            await self._outlet.mark(self._behind(element))
        elif isinstance(element, End):
            if isinstance(self._operator, StatefulOperator):
                await self._outlet.emit_all(self._timed(self._operator.on_end))
            await self._participant.finish(self._snapshot())
            await self._outlet.mark(element)

    async def _process(self, frame: pl.DataFrame, input_index: int) -> None:
        try:
            emissions = self._timed(self._call, frame, input_index)
        except Exception as error:
            if self._failed.are_fatal or frame.height == 1:
                await self._failed.put_aside(frame, error)
                self._changed()
                return
            # One bad record must not take the others of its batch along.
            half = frame.height // 2
            await self._process(frame[:half], input_index)
            await self._process(frame[half:], input_index)
            return
        await self._outlet.emit_all(emissions)

    def _call(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        if isinstance(self._operator, StatefulOperator):
            return self._operator.on_batch(frame, input_index)
        return (Emission(self._operator.apply(frame)),)

    def _timed(self, call: Callable[..., Sequence[Emission]], *arguments: object) -> Sequence[Emission]:
        started = self._clock.now()
        try:
            return call(*arguments)
        finally:
            self._counts.busy_seconds += self._clock.now() - started

    def _behind(self, watermark: Watermark) -> Watermark:
        if isinstance(self._operator, DelayedOutput):
            return watermark._replace(time_us=self._operator.watermark_behind(watermark.time_us))
        return watermark

    def _snapshot(self) -> State:
        return self._operator.snapshot() if isinstance(self._operator, StatefulOperator) else State()
