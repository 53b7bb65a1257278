"""Tasks that live and die together (``asyncio.TaskGroup`` needs Python 3.11)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from sage_common.tasks import end_tasks


class TaskScope:
    """The first task that fails ends all the others; so does the cancellation of ``join``."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start ``work`` inside the scope."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def join(self) -> None:
        """Wait until every task has ended. Raises the first failure, when all of them have ended."""
        try:
            while self._tasks and self._failure is None:
                self._changed.clear()
                await self._changed.wait()
        finally:
            while self._tasks:
                await end_tasks(*self._tasks)
                # Tasks that had all ended were not waited for: the loop must run what takes them out of the scope.
                await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
            self._failure = self._failure or error
        self._changed.set()
