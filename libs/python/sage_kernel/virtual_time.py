"""Time that a test owns: nothing waits for real, and everything wakes in the order of its hour."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

# Tasks of the runtime that always sleep beside the records: nobody waits for them.
_BACKGROUND = frozenset(("idle", "checkpoints", "linger"))


class VirtualTime:
    """A clock, a ``sleep`` and a time of day that move only where they are moved.

    Args:
        start_us: the time of day at the beginning, in microseconds since 1970-01-01 UTC.
    """

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._at = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._in_foreground = 0

    @property
    def foreground_sleepers(self) -> int:
        """How many sleep whom somebody waits for: calls of models, attempts that are made again."""
        return self._in_foreground

    def now(self) -> float:
        """Return seconds since the start."""
        return self._at

    def now_us(self) -> int:
        """Return the time of day."""
        return self._start_us + round(self._at * 1e6)

    async def sleep(self, seconds: float) -> None:
        """Wait until time has been moved by ``seconds``."""
        task = asyncio.current_task()
        in_foreground = task is None or task.get_name() not in _BACKGROUND
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._at + max(seconds, 0.0), next(self._order), future))
        self._in_foreground += in_foreground
        try:
            await future
        finally:
            self._in_foreground -= in_foreground

    def next_wake_up(self) -> float | None:
        """Return when the first of those who sleep wakes, or None."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def move_to(self, at: float) -> None:
        """Move to ``at`` (seconds since the start) and wake who slept until then."""
        self._at = max(self._at, at)
        while (wake_up := self.next_wake_up()) is not None and wake_up <= self._at:
            heapq.heappop(self._sleepers)[2].set_result(None)
