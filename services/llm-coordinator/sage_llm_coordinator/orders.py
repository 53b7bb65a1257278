"""Orders that are carried out to their end though their caller has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sage_common.errors import SageError, UnavailableError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks

log = get_logger(__name__)

T = TypeVar("T")


class Orders:
    """Carries out orders in tasks of their own.

    gRPC cancels a handler when its caller hangs up or runs out of time; half a removal would leave an engine that
    drains for ever, or a server without an owner.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def run(self, name: str, order: Callable[[], Awaitable[T]]) -> T:
        """Carry out ``order`` and return what it returns; being cancelled ends the wait, not the order.

        Raises:
            UnavailableError: this coordinator is stopping.
        """
        if self._stopping:
            raise _stopping(name)

        async def carried_out() -> T:
            return await order()

        task = asyncio.create_task(carried_out(), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise _stopping(name) from None
            log.info("the caller of an order has gone; the order is carried out", order=name)
            task.add_done_callback(_log_failure)
            raise

    async def stop(self, seconds: float) -> None:
        """Refuse further orders; cancel those that are not carried out within ``seconds``."""
        self._stopping = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)
        await end_tasks(*self._running)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, SageError):
        log.error("order not carried out", order=task.get_name(), error=error.message)
    else:
        log.error("order not carried out", order=task.get_name(), exc_info=error)


def _stopping(name: str) -> UnavailableError:
    return UnavailableError(f"the coordinator is stopping; {name} is not carried out")
