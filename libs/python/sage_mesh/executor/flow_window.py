"""How much of an answer may be on its way to a consumer that has not read it."""

from __future__ import annotations

import asyncio
from typing import Final

from sage_mesh.reply import HIGH_WATER_BYTES

# An edge repeats how far its consumer has come with each sweep. One that says nothing for so long is gone, or cannot be
# heard: the engine is read on, as of an answer that nobody waits for any more.
SILENCE_SECONDS: Final = 2.0


class FlowWindow:
    """One answer's window: ``HIGH_WATER_BYTES`` beyond what its consumer has taken."""

    __slots__ = ("_sent_bytes", "_taken_bytes", "_timer", "_waiter")

    def __init__(self) -> None:
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether no more is to be sent now."""
        return self._sent_bytes - self._taken_bytes >= HIGH_WATER_BYTES

    def on_sent(self, count: int) -> None:
        """Take in that ``count`` bytes more were sent."""
        self._sent_bytes += count

    def on_taken(self, taken_bytes: int) -> None:
        """Take in how many bytes the consumer has taken in all; older word than the last changes nothing."""
        self._taken_bytes = max(self._taken_bytes, taken_bytes)
        if self._waiter is not None and not self._waiter.done():
            if self.full:
                self._wait_for_word()
            else:
                self._waiter.set_result(None)

    async def until_open(self) -> None:
        """Wait until it is not full, or the edge is silent. Awaited by one."""
        if not self.full:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        self._wait_for_word()
        try:
            await self._waiter
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _wait_for_word(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._on_silence)

    def _on_silence(self) -> None:
        self._taken_bytes = self._sent_bytes
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
