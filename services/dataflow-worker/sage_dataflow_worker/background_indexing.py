"""Indexes of knowledge bases brought up to date behind the calls that store single documents."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sage_common.errors import SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_libs.hnsw_graph import HnswError
from sage_middleware.knowledge.index_upkeep import keep_index

log = get_logger(__name__)


class BackgroundIndexing:
    """Looks after each collection in a task of its own; until that has ended, what is new in it is scanned."""

    def __init__(self) -> None:
        self._tasks: dict[Path, asyncio.Task[None]] = {}
        self._due: set[Path] = set()

    def begin(self, path: Path) -> None:
        """Look whether the index of a collection is to be written; where that is being done, once more after it."""
        self._due.add(path)
        if path not in self._tasks:
            self._tasks[path] = asyncio.create_task(self._keep(path), name="keep-index")

    async def close(self) -> None:
        """Stop; indexes that are not finished are begun again another time."""
        await end_tasks(*self._tasks.values())
        # One that had not begun could not do so itself.
        self._tasks.clear()

    async def _keep(self, path: Path) -> None:
        try:
            while path in self._due:
                self._due.discard(path)
                await self._keep_once(path)
        finally:
            self._tasks.pop(path, None)

    async def _keep_once(self, path: Path) -> None:
        try:
            await keep_index(path, measure=False)
        except (HnswError, SageError) as error:
            log.warning("index not brought up to date", name=path.stem, reason=str(error))
