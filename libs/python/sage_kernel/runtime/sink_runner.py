"""Runs a sink: writes what comes in, and makes it durable at every barrier."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from sage_common.clock import Clock
from sage_kernel.foreign_errors import foreign
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import Sink, State
from sage_kernel.run_context import Sleep
from sage_kernel.runtime.checkpointing import Participant
from sage_kernel.runtime.elements import Barrier, Element, End
from sage_kernel.runtime.failures import FailedRecords
from sage_kernel.runtime.fenced_sink import TakenOverError
from sage_kernel.runtime.inlet import NodeCut
from sage_kernel.runtime.progress import NodeCounts
from sage_kernel.runtime.retries import with_retries


class SinkRunner:
    """Writes batch after batch; a batch that cannot be written is halved until the record to blame is found."""

    def __init__(
        self,
        spec: NodeSpec,
        sink: Sink,
        counts: NodeCounts,
        failed: FailedRecords,
        participant: Participant,
        clock: Clock,
        sleep: Sleep,
        changed: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._sink = sink
        self._counts = counts
        self._failed = failed
        self._participant = participant
        self._clock = clock
        self._sleep = sleep
        self._changed = changed

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
            self._counts.records_in += element.height
            self._changed()
            await self._write(element)
        elif isinstance(element, End):
            self._participant.finish(await self._flush())

    async def on_barrier(self, barrier: Barrier) -> NodeCut:
        """Make everything written so far durable. Raises NodeFailedError."""
        return NodeCut(await self._flush())

    async def _flush(self) -> State:
        try:
            return await self._sink.flush()
        except Exception as error:
            raise self._failed.failed(error) from error

    async def _write(self, frame: pl.DataFrame) -> None:
        try:
            await self._attempt(frame)
        except (OSError, TakenOverError) as error:
            # The disk, the network or another run, not the records.
            raise self._failed.failed(error) from error
        except Exception as error:
            if self._failed.are_fatal:
                raise self._failed.failed(error, frame) from error
            if frame.height == 1:
                await self._failed.put_aside(frame, error)
                self._changed()
                return
            half = frame.height // 2
            await self._write(frame[:half])
            await self._write(frame[half:])

    async def _attempt(self, frame: pl.DataFrame) -> None:
        async def write() -> None:
            started = self._clock.now()
            try:
                await self._sink.write(frame)
            finally:
                self._counts.busy_seconds += self._clock.now() - started

        try:
            await with_retries(write, self._spec.retries, self._sleep)
        except pl.exceptions.PanicException as error:
            raise foreign(error) from error
