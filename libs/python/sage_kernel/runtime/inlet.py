"""The queues in front of a node that has several inputs or that waits: bounded, and aligned at barriers."""

from __future__ import annotations

import asyncio
from collections import deque

import polars as pl

from sage_kernel.runtime.elements import END_OF_TIME_US, START_OF_TIME_US, Barrier, Element, End, Watermark
from sage_kernel.runtime.outlet import Receiver

# Of one queue, beside the limit in batches: batches of small records are large.
MAX_QUEUED_RECORDS = 131_072


class Inlet:
    """One bounded queue an input. Its ``run`` hands elements on to one receiver, in turn.

    Marks reach the receiver combined: a watermark when the least of all inputs that are not idle rises, a barrier when
    it has come on every input that has not ended (an input that has brought it waits for the others), one end.

    Args:
        target: gets the elements, with the position of their input.
        inputs: how many there are.
        capacity_batches: most batches waiting in one queue.
    """

    def __init__(self, target: Receiver, inputs: int, capacity_batches: int) -> None:
        self._target = target
        self._queues: list[deque[Element]] = [deque() for _ in range(inputs)]
        self._queued_records = [0] * inputs
        self._capacity = capacity_batches
        self._arrived = asyncio.Event()
        self._room = [asyncio.Event() for _ in range(inputs)]
        self._watermarks = [START_OF_TIME_US] * inputs
        self._idle = [False] * inputs
        self._ended = [False] * inputs
        self._aligned: set[int] = set()
        self._barrier = Barrier(0)
        self._sent = Watermark(START_OF_TIME_US)
        self._last_served = -1

    @property
    def has_more(self) -> bool:
        """Whether records wait that could be handed on now."""
        return any(
            isinstance(queue[0], pl.DataFrame)
            for index, queue in enumerate(self._queues)
            if queue and index not in self._aligned
        )

    @property
    def watermarks(self) -> list[int]:
        """The watermark of each input."""
        return list(self._watermarks)

    def restore(self, watermarks: list[int]) -> None:
        """Take up the watermarks of a checkpoint."""
        self._watermarks = list(watermarks)
        self._sent = self._combined()

    async def accept(self, element: Element, input_index: int) -> None:
        """Queue an element, waiting while its queue is full."""
        records = element.height if isinstance(element, pl.DataFrame) else 0
        while self._is_full(input_index):
            self._room[input_index].clear()
            await self._room[input_index].wait()
        self._queues[input_index].append(element)
        self._queued_records[input_index] += records
        self._arrived.set()

    async def run(self) -> None:
        """Hand everything on until every input has ended."""
        while not all(self._ended):
            index = self._next_input()
            if index is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            self._last_served = index
            element = self._queues[index].popleft()
            if isinstance(element, pl.DataFrame):
                self._queued_records[index] -= element.height
            self._room[index].set()
            await self._hand_on(element, index)
        await self._target.accept(End(), 0)

    def _is_full(self, index: int) -> bool:
        return len(self._queues[index]) >= self._capacity or self._queued_records[index] >= MAX_QUEUED_RECORDS

    def _next_input(self) -> int | None:
        count = len(self._queues)
        for step in range(1, count + 1):
            index = (self._last_served + step) % count
            if self._queues[index] and index not in self._aligned:
                return index
        return None

    async def _hand_on(self, element: Element, index: int) -> None:
        if isinstance(element, pl.DataFrame):
            await self._target.accept(element, index)
            return
        if isinstance(element, Barrier):
            self._aligned.add(index)
            await self._pass_barrier(element)
            return
        if isinstance(element, End):
            self._ended[index] = True
            self._watermarks[index] = END_OF_TIME_US
            await self._pass_watermark()
            if self._aligned:
                await self._pass_barrier(self._barrier)
            return
        self._idle[index] = element.is_idle
        self._watermarks[index] = max(self._watermarks[index], element.time_us)
        await self._pass_watermark()

    async def _pass_barrier(self, barrier: Barrier) -> None:
        self._barrier = barrier
        if all(index in self._aligned or ended for index, ended in enumerate(self._ended)):
            self._aligned.clear()
            await self._target.accept(barrier, 0)

    async def _pass_watermark(self) -> None:
        watermark = self._combined()
        if watermark.time_us > self._sent.time_us or watermark.is_idle != self._sent.is_idle:
            self._sent = watermark
            await self._target.accept(watermark, 0)

    def _combined(self) -> Watermark:
        active = [time for time, idle in zip(self._watermarks, self._idle, strict=True) if not idle]
        least = min(active) if active else max(self._watermarks)
        return Watermark(max(least, self._sent.time_us), is_idle=not active)
