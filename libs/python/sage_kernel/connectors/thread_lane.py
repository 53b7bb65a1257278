"""Work in threads for one owner, one call at a time, that is over for certain when the owner is closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sage_common.errors import CancelledError

P = ParamSpec("P")
T = TypeVar("T")


class ThreadLane:
    """Runs calls in threads.

    A run that is cancelled leaves its thread at work: it must have ended before what it works on is closed, and begin
    nothing afterwards.
    """

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._is_closed = False

    async def call(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Return what ``function`` returns. Raises CancelledError when the lane is closed."""

        def locked() -> T:
            with self._one_at_a_time:
                if self._is_closed:
                    raise CancelledError("the run has ended")
                return function(*arguments, **keywords)

        return await asyncio.to_thread(locked)

    async def close(self, function: Callable[[], None]) -> None:
        """Let the call at work end, take no further ones, and call ``function``."""

        def last() -> None:
            with self._one_at_a_time:
                self._is_closed = True
                function()

        await asyncio.to_thread(last)
