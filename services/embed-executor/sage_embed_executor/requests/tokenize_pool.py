"""Making tokens of a request's text when it arrives, so that what is queued is token ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from sage_common.clock import Clock
from sage_embed_executor.thread_priority import lower_priority

T = TypeVar("T")

# Below this, tokenising costs less than handing it to a thread: a thousand characters take about 0.3 ms.
INLINE_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """A value and the seconds it took, waiting included."""

    value: T
    seconds: float


class AdmissionTokenizer:
    """Runs tokenising off the event loop: one thread for bulk work, of a lower priority, and one for the rest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._soon = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._bulk = ThreadPoolExecutor(1, thread_name_prefix="tokenize-bulk", initializer=lower_priority)

    async def run(self, tokenise: Callable[[], T], characters: int, *, bulk: bool) -> Timed[T]:
        """Run ``tokenise`` for so many characters; here and now where that is the quickest."""
        began = self._clock.now()
        if characters <= INLINE_CHARACTERS:
            value = tokenise()
        else:
            pool = self._bulk if bulk else self._soon
            value = await asyncio.get_running_loop().run_in_executor(pool, tokenise)
        return Timed(value, self._clock.now() - began)

    def close(self) -> None:
        """End the threads; what they have begun is finished."""
        for pool in (self._soon, self._bulk):
            pool.shutdown(wait=False, cancel_futures=True)
