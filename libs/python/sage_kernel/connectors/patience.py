"""Waiting for what may pass by itself: a full disk, a server that is gone for a while."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from sage_common.errors import SageError, describe
from sage_kernel.run_context import RunContext
from sage_kernel.runtime.retries import may_pass

DEFAULT_PATIENCE_US = 300_000_000
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
# A wait that people should know of.
_WORTH_A_WARNING_SECONDS = 2.0
_MAY_PASS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ESTALE})

T = TypeVar("T")


class Attempts(Protocol):
    """How often something is tried."""

    async def attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what ``call`` returns, or raise its error."""
        ...


class Once:
    """Tries once."""

    async def attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what ``call`` returns, or raise its error."""
        return await call()


class Patience:
    """Repeats an attempt while its error may pass, and says for whom it waits and why.

    Args:
        node_id: whose work waits.
        what: what is waited for, such as ``room on the disk of /data``.
        limit_us: after this long the error is raised.
    """

    def __init__(self, context: RunContext, node_id: str, what: str, limit_us: int = DEFAULT_PATIENCE_US) -> None:
        self._context = context
        self._node_id = node_id
        self._what = what
        self._limit_seconds = limit_us / 1e6

    async def attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what ``call`` returns, called until it succeeds. Raises its error when it does not pass in time."""
        began: float | None = None
        warned = False
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                return await call()
            except (OSError, SageError) as error:
                now = self._context.clock.now()
                began = now if began is None else began
                left = began + self._limit_seconds - now
                if not may_pass_later(error) or left <= 0:
                    raise
                if not warned and now - began >= _WORTH_A_WARNING_SECONDS:
                    warned = True
                    reason = error.message if isinstance(error, SageError) else describe(error)
                    self._context.warn(
                        self._node_id, f"waits for {self._what}: {reason}; fails in {left:.0f} s unless that passes"
                    )
                asked = error.retry_after_seconds if isinstance(error, SageError) else None
                await self._context.sleep(min(asked or wait, max(left, 0.0), 60.0))
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)


def may_pass_later(error: Exception) -> bool:
    """Whether what failed, the system's errors too, may succeed later without anyone's doing here."""
    return may_pass(error) or (isinstance(error, OSError) and error.errno in _MAY_PASS)
