"""How long to wait before another attempt."""

from __future__ import annotations

from sage_common.errors import SageError

_FIRST_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 5.0


def retry_wait_seconds(error: SageError, attempt: int) -> float:
    """Return the wait after ``attempt`` (from 0) failed: what ``error`` asks for, else twice as long each time."""
    wait = error.retry_after_seconds or _FIRST_RETRY_SECONDS * 2.0 ** min(attempt, 30)
    return min(wait, _LONGEST_RETRY_SECONDS)
