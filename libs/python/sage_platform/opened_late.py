"""What is opened when it is first needed, so that a service starts while its storage cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class OpenedLate(Generic[T]):
    """Opens something once, by whoever asks first; a failure is that caller's, and the next one tries again."""

    def __init__(self, open_it: Callable[[], Awaitable[T]]) -> None:
        self._open = open_it
        self._opened: list[T] = []
        self._lock = asyncio.Lock()

    async def get(self) -> T:
        """Return it. Raises what opening raises."""
        if not self._opened:
            async with self._lock:
                if not self._opened:
                    self._opened.append(await self._open())
        return self._opened[0]

    def forget(self) -> None:
        """Have it opened anew by whoever asks next."""
        self._opened.clear()
