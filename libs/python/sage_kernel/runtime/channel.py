"""A bounded queue of batches between nodes: a full one makes its producers wait, which is the backpressure."""

from __future__ import annotations

import asyncio
from collections import deque

from sage_kernel.operator import Batch, Record


class Channel:
    """Carries batches from several producers to one consumer.

    Args:
        producers: how many will call ``close``.
        capacity_batches: most batches waiting; 0 for no bound.
    """

    def __init__(self, producers: int, capacity_batches: int) -> None:
        self._queue: asyncio.Queue[Batch | None] = asyncio.Queue(capacity_batches)
        self._open_producers = producers
        self._taken: deque[Record] = deque()

    async def put(self, batch: Batch) -> None:
        """Hand over a batch, waiting while the queue is full."""
        await self._queue.put(batch)

    async def close(self) -> None:
        """End one producer's part; when all have ended, so does the channel."""
        await self._queue.put(None)

    async def take(self, most: int) -> list[Record]:
        """Return between 1 and ``most`` records: those that wait, or the next one. Empty at the end."""
        while not self._taken and self._open_producers:
            self._absorb(await self._queue.get())
        while len(self._taken) < most and self._open_producers and not self._queue.empty():
            self._absorb(self._queue.get_nowait())
        return [self._taken.popleft() for _ in range(min(most, len(self._taken)))]

    def _absorb(self, batch: Batch | None) -> None:
        if batch is None:
            self._open_producers -= 1
        else:
            self._taken.extend(batch)
