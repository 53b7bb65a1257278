"""Runs a source: its splits in order, watermarks behind its batches, barriers between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import orjson
import polars as pl

from sage_common.tasks import end_tasks
from sage_kernel.event_time.watermarks import WatermarkGenerator
from sage_kernel.operator import REFUSED_FIELDS, JoiningSource, Source, SourceBatch, Split, State
from sage_kernel.runtime.elements import END_OF_TIME_US, Barrier, End, Watermark
from sage_kernel.runtime.next_batch import next_batch
from sage_kernel.runtime.running_node import RunningNode
from sage_kernel.runtime.split_progress import SplitProgress


class SourceRunner:
    """Sends the records of a source, no faster than they are taken.

    Args:
        watermarks: None where the records have no event time.
        splits: what to read; None reads every split of the source.
    """

    def __init__(
        self,
        node: RunningNode,
        source: Source,
        watermarks: WatermarkGenerator | None,
        splits: Sequence[Split] | None = None,
    ) -> None:
        self._source = source
        self._outlet = node.outlet
        self._failed = node.failed
        self._participant = node.participant
        self._watermarks = watermarks
        self._clock = node.clock
        self._sleep = node.sleep
        self._splits = splits
        self._left = SplitProgress()
        self._barrier: int | None = None
        self._is_paused = False
        self._is_idle_due = False
        self._heard_at = 0.0
        self._reading: asyncio.Task[SourceBatch | None] | None = None
        self._changed = asyncio.Event()
        self._is_waiting = False

    @property
    def is_waiting(self) -> bool:
        """Whether there is nothing to send."""
        return self._is_waiting and not self._changed.is_set()

    def restore(self, state: State) -> None:
        """Go on where a checkpoint says."""
        self._left.restore(state.values)
        if self._watermarks is not None:
            self._watermarks.restore(state.values.get("watermark"))

    def request_barrier(self, checkpoint: int) -> None:
        """Send a barrier between two batches."""
        self._barrier = checkpoint
        self._changed.set()

    def pause(self) -> None:
        """Read nothing more for now; barriers go on."""
        self._is_paused = True

    def resume(self) -> None:
        """Read on."""
        self._is_paused = False
        self._heard_at = self._clock.now()
        self._changed.set()

    async def run(self) -> None:
        """Send everything. Raises NodeFailedError."""
        self._outlet.on_room(self._changed.set)
        try:
            splits = self._splits if self._splits is not None else await self._source.splits()
            if splits and isinstance(self._source, JoiningSource):
                splits = [self._source.joined(splits)]
            if self._watermarks is not None and (known := self._watermarks.current()) is not None:
                await self._outlet.mark(known)
            for split in self._left.begin(splits):
                await self._read(self._source.batches(split, self._left.position))
                self._left.finish(split)
        except Exception as error:
            raise self._failed.failed(error) from error
        await self._pass_barrier()
        if self._watermarks is not None:
            await self._outlet.mark(Watermark(END_OF_TIME_US))
        self._participant.finish(self._state())
        await self._outlet.mark(End())

    async def _read(self, batches: AsyncIterator[SourceBatch]) -> None:
        self._heard_at = self._clock.now()
        watching = asyncio.create_task(self._watch_idle(), name="idle") if self._idle_seconds is not None else None
        try:
            while True:
                await self._pass_barrier()
                if self._is_idle_due:
                    self._is_idle_due = False
                    assert self._watermarks is not None  # else there is nothing to wait for
                    await self._mark(self._watermarks.fall_idle)
                if self._reading is None and not self._is_paused and self._outlet.has_room():
                    self._reading = asyncio.ensure_future(next_batch(batches))
                    self._reading.add_done_callback(self._wake)
                if self._reading is None or not self._reading.done():
                    await self._wait()
                    continue
                reading, self._reading = self._reading, None
                self._heard_at = self._clock.now()
                self._is_idle_due = False
                batch = reading.result()
                if batch is None:
                    return
                await self._send(batch)
        finally:
            await end_tasks(*(task for task in (self._reading, watching) if task is not None))
            self._reading = None
            close = getattr(batches, "aclose", None)
            if close is not None:
                await close()

    async def _wait(self) -> None:
        self._is_waiting = True
        self._changed.clear()
        await self._changed.wait()
        self._is_waiting = False

    def _wake(self, _: asyncio.Task[SourceBatch | None]) -> None:
        self._changed.set()

    @property
    def _idle_seconds(self) -> float | None:
        return self._watermarks.idle_seconds if self._watermarks is not None else None

    async def _watch_idle(self) -> None:
        """Report when the source has been silent for too long. One that is held back is not silent."""
        assert self._idle_seconds is not None
        while True:
            silent = self._clock.now() - self._heard_at
            if self._reading is None or self._reading.done():
                self._heard_at, silent = self._clock.now(), 0.0
            elif silent >= self._idle_seconds:
                self._is_idle_due = True
                self._changed.set()
                silent = 0.0
            await self._sleep(self._idle_seconds - silent)

    async def _send(self, batch: SourceBatch) -> None:
        frame = batch.frame
        for records, error in batch.refused:
            await self._failed.put_aside(records, error)
        if self._watermarks is not None and frame.height:
            frame, untimely = self._watermarks.take(frame)
            for records, error in untimely:
                await self._failed.put_aside(_as_refused(records), error)
        await self._outlet.emit(frame)
        self._left.position = batch.position
        if self._watermarks is not None and batch.frame.height:
            await self._mark(self._watermarks.advance)

    async def _mark(self, next_mark: Callable[[], Watermark | None]) -> None:
        mark = next_mark()
        if mark is not None:
            await self._outlet.mark(mark)

    async def _pass_barrier(self) -> None:
        if self._barrier is not None:
            checkpoint, self._barrier = self._barrier, None
            self._participant.acknowledge(checkpoint, self._state())
            await self._outlet.mark(Barrier(checkpoint))

    def _state(self) -> State:
        watermark = self._watermarks.state() if self._watermarks is not None else None
        return State({**self._left.snapshot(), "watermark": watermark})


def _as_refused(frame: pl.DataFrame) -> pl.DataFrame:
    lines = [orjson.dumps(record, default=str).decode() for record in frame.iter_rows(named=True)]
    return pl.DataFrame({"raw": lines, "place": [None] * len(lines)}, schema=dict(REFUSED_FIELDS))
