"""Attempts after an error that may pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sage_common.errors import ContendedError, SageError, UnavailableError
from sage_kernel.run_context import Sleep

T = TypeVar("T")

_FIRST_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 5.0


async def with_retries(call: Callable[[], Awaitable[T]], retries: int, sleep: Sleep) -> T:
    """Return what ``call`` returns, after at most ``retries`` attempts more. Raises its last error."""
    attempt = 0
    while True:
        try:
            return await call()
        except SageError as error:
            if attempt >= retries or not may_pass(error):
                raise
            wait = retry_wait_seconds(error, attempt)
        attempt += 1
        await sleep(wait)


def may_pass(error: Exception) -> bool:
    """Whether an attempt after this error may succeed."""
    return isinstance(error, SageError) and (error.retryable or isinstance(error, UnavailableError | ContendedError))


def retry_wait_seconds(error: SageError, attempt: int) -> float:
    """Return the wait after ``attempt`` (from 0) failed: what ``error`` asks for, else twice as long each time."""
    wait = error.retry_after_seconds or _FIRST_RETRY_SECONDS * 2.0 ** min(attempt, 30)
    return min(wait, _LONGEST_RETRY_SECONDS)
