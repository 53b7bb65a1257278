"""Runs an operator that waits for models or the network: many calls at once, results as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl
from pydantic import JsonValue

from sage_common.clock import Clock
from sage_common.errors import SageError
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import AsyncOperator, Sleep, State
from sage_kernel.runtime.checkpointing import Participant
from sage_kernel.runtime.elements import Barrier, Element, End, Watermark
from sage_kernel.runtime.failures import FailedRecords, may_pass
from sage_kernel.runtime.outlet import Outlet
from sage_kernel.runtime.progress import NodeCounts
from sage_kernel.runtime.task_scope import TaskScope

_FIRST_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 5.0


@dataclass(eq=False)
class _Call:
    """Records on their way through the operator; ``result`` is there when they are done and wait for their turn."""

    frame: pl.DataFrame
    result: pl.DataFrame | None = None
    emitted: asyncio.Event = field(default_factory=asyncio.Event)


class AsyncRunner:
    """Calls the operator with slices of what comes in.

    A watermark leaves when all records before it have left. A barrier leaves at once: the records that are still
    on their way belong to the checkpoint, and go in again after a restart (as Flink's asynchronous operator does).

    Args:
        has_more: whether further records wait in the queue, so that a small slice is worth holding back.
    """

    def __init__(
        self,
        spec: NodeSpec,
        operator: AsyncOperator,
        outlet: Outlet,
        counts: NodeCounts,
        failed: FailedRecords,
        participant: Participant,
        *,
        scope: TaskScope,
        clock: Clock,
        sleep: Sleep,
        changed: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._operator = operator
        self._outlet = outlet
        self._counts = counts
        self._failed = failed
        self._participant = participant
        self._scope = scope
        self._clock = clock
        self._sleep = sleep
        self._changed = changed
        self._slots = asyncio.Semaphore(spec.concurrency)
        # Held while something leaves, so that a barrier never comes between two halves of a result.
        self._leaving = asyncio.Lock()
        self._pending: deque[_Call | Watermark] = deque()
        self._buffered: list[pl.DataFrame] = []
        self._lingering: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self._restored: list[pl.DataFrame | Watermark] = []
        self.has_more: Callable[[], bool] = lambda: False

    def restore(self, state: State) -> None:
        """Take up the records that were on their way; they go in before anything else."""
        entries = state.values.get("pending")
        self._restored = [
            state.frames[entry] if isinstance(entry, str) else _watermark(entry)
            for entry in (entries if isinstance(entries, list) else ())
        ]

    async def start(self) -> None:
        """Send in what was on its way at the checkpoint."""
        restored, self._restored = self._restored, []
        for entry in restored:
            await self.accept(entry, 0)
        await self._call_buffered(whole_slices=False)

    async def accept(self, element: Element, input_index: int) -> None:
        """Take an element, waiting while every call is taken. Raises NodeFailedError."""
        if isinstance(element, pl.DataFrame):
            self._counts.records_in += element.height
            self._changed()
            self._buffered.append(element)
            await self._call_buffered(whole_slices=True)
            if self._buffered and not self.has_more():
                await self._linger_or_call()
            return
        if isinstance(element, Barrier):
            async with self._leaving:
                await self._participant.acknowledge(element.checkpoint, self._state())
                await self._outlet.mark(element)
            return
        await self._call_buffered(whole_slices=False)
        if isinstance(element, Watermark):
            self._pending.append(element)
            await self._release()
        elif isinstance(element, End):
            while self._pending:
                self._drained.clear()
                await self._drained.wait()
            await self._participant.finish(State())
            await self._outlet.mark(element)

    async def _linger_or_call(self) -> None:
        if self._operator.linger_seconds <= 0:
            await self._call_buffered(whole_slices=False)
        elif self._lingering is None or self._lingering.done():
            self._lingering = self._scope.spawn(self._call_after_linger(), "linger")

    async def _call_after_linger(self) -> None:
        await self._sleep(self._operator.linger_seconds)
        await self._call_buffered(whole_slices=False)

    async def _call_buffered(self, *, whole_slices: bool) -> None:
        most = self._operator.batch_records
        while self._buffered:
            held = sum(frame.height for frame in self._buffered)
            if held < most and whole_slices:
                return
            frame = self._buffered[0] if len(self._buffered) == 1 else pl.concat(self._buffered, how="vertical")
            piece, rest = frame[:most], frame[most:]
            self._buffered = [rest] if rest.height else []
            # In the books before anything is awaited: a barrier meanwhile must find the records somewhere.
            call = _Call(piece)
            self._pending.append(call)
            await self._slots.acquire()
            self._scope.spawn(self._run(call), "call")

    async def _run(self, call: _Call) -> None:
        # The slot is held until the output is taken: a slow node behind slows this one.
        try:
            result = await self._process(call.frame)
            if not self._spec.ordered:
                async with self._leaving:
                    await self._outlet.emit(result)
                    call.emitted.set()
            else:
                call.result = result
            await self._release()
            await call.emitted.wait()
        finally:
            self._slots.release()

    async def _release(self) -> None:
        """Let out what is at the front and done: in order where asked, and watermarks behind their records."""
        async with self._leaving:
            while self._pending:
                first = self._pending[0]
                if isinstance(first, Watermark):
                    self._pending.popleft()
                    await self._outlet.mark(first)
                    continue
                if not first.emitted.is_set():
                    if first.result is None:
                        break
                    await self._outlet.emit(first.result)
                    first.emitted.set()
                self._pending.popleft()
            if not self._pending:
                self._drained.set()

    async def _process(self, frame: pl.DataFrame) -> pl.DataFrame:
        try:
            return await self._attempt(frame)
        except Exception as error:
            if self._failed.are_fatal or frame.height == 1:
                await self._failed.put_aside(frame, error)
                self._changed()
                return frame.clear()
        # One bad record must not take the others of its batch along.
        half = frame.height // 2
        kept = [await self._process(piece) for piece in (frame[:half], frame[half:])]
        kept = [piece for piece in kept if piece.height]
        return pl.concat(kept, how="vertical") if kept else frame.clear()

    async def _attempt(self, frame: pl.DataFrame) -> pl.DataFrame:
        attempt = 0
        while True:
            started = self._clock.now()
            try:
                return await self._operator.process(frame)
            except SageError as error:
                if attempt >= self._spec.retries or not may_pass(error):
                    raise
                wait = error.retry_after_seconds or _FIRST_RETRY_SECONDS * 2**attempt
                attempt += 1
            finally:
                self._counts.busy_seconds += self._clock.now() - started
            await self._sleep(min(wait, _LONGEST_RETRY_SECONDS))

    def _state(self) -> State:
        entries: list[JsonValue] = []
        frames: dict[str, pl.DataFrame] = {}
        waiting: list[_Call | Watermark] = [*self._pending, *(_Call(frame) for frame in self._buffered)]
        for entry in waiting:
            if isinstance(entry, Watermark):
                entries.append([entry.time_us, entry.is_idle])
            elif not entry.emitted.is_set():
                name = f"pending-{len(frames)}"
                frames[name] = entry.frame
                entries.append(name)
        return State({"pending": entries}, frames)


def _watermark(entry: JsonValue) -> Watermark:
    assert isinstance(entry, list)
    return Watermark(int(str(entry[0])), bool(entry[1]))
