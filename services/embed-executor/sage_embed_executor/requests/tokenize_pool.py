"""Tokenising when a request arrives, so that token ids are queued."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from sage_common.clock import Clock
from sage_embed_executor.thread_priority import lower_priority

T = TypeVar("T")

# Up to this, tokenising costs less than a switch to a thread: a thousand characters take about 0.3 ms.
INLINE_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """A value and the seconds that it took, the wait for a thread included."""

    value: T
    seconds: float


class TokenizePool:
    """Tokenises off the event loop: one thread for interactive requests, and one of a lower priority for bulk work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._interactive = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._bulk = ThreadPoolExecutor(1, thread_name_prefix="tokenize-bulk", initializer=lower_priority)

    async def run(self, tokenise: Callable[[], T], characters: int, *, bulk: bool) -> Timed[T]:
        """Return the result of ``tokenise``, run on a thread, or on the event loop for few ``characters``."""
        began = self._clock.now()
        if characters <= INLINE_CHARACTERS:
            value = tokenise()
        else:
            pool = self._bulk if bulk else self._interactive
            value = await asyncio.get_running_loop().run_in_executor(pool, tokenise)
        return Timed(value, self._clock.now() - began)

    def close(self) -> None:
        """Stop the threads; a running call is finished."""
        for pool in (self._interactive, self._bulk):
            pool.shutdown(wait=False, cancel_futures=True)
