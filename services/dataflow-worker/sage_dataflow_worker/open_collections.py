"""Collections kept open between searches: to open one reads all its vectors."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sage_common.errors import NotFoundError
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.library import Library

# Each holds its vectors in memory, a byte a number: 38 MB for 100,000 passages of MiniLM.
MOST_OPEN = 8


@dataclass
class _Opened:
    collection: Collection
    file: tuple[int, int]
    users: int = 0
    is_kept: bool = True


class OpenCollections:
    """Opens collections to read. Those that were used last stay open; one that was dropped meanwhile is closed.

    Args:
        most: how many stay open while nobody uses them.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._opened: OrderedDict[Path, _Opened] = OrderedDict()

    @asynccontextmanager
    async def reading(self, library: Library, name: str) -> AsyncIterator[Collection]:
        """Give a collection for as long as the context lasts. Raises NotFoundError and what ``Library.open`` raises."""
        opened = await self._get(library, name)
        opened.users += 1
        try:
            yield opened.collection
        finally:
            opened.users -= 1
            await self._close_unused()

    async def close(self) -> None:
        """Close all that nobody uses."""
        for opened in self._opened.values():
            opened.is_kept = False
        await self._close_unused()

    async def _get(self, library: Library, name: str) -> _Opened:
        path = library.path(name)
        file = await asyncio.to_thread(_identity, path)
        known = self._opened.get(path)
        if known is not None and known.file == file:
            self._opened.move_to_end(path)
            return known
        collection = await asyncio.to_thread(library.open, name, read_only=True)
        file = await asyncio.to_thread(_identity, path)
        if file is None:
            collection.close()
            raise NotFoundError(f"the knowledge base {name!r} was dropped just now")
        known = self._opened.get(path)
        if known is not None and known.file == file:
            # Another call has opened it meanwhile.
            collection.close()
            return known
        if known is not None:
            known.is_kept = False
            # Under a name that nobody asks for, until its users are through.
            self._opened[path.with_name(f"{path.name}#{known.file}")] = known
        opened = self._opened[path] = _Opened(collection, file)
        self._opened.move_to_end(path)
        return opened

    async def _close_unused(self) -> None:
        superfluous = sum(one.is_kept for one in self._opened.values()) - self._most
        for path, opened in list(self._opened.items()):
            if opened.users == 0 and (superfluous > 0 or not opened.is_kept):
                del self._opened[path]
                superfluous -= opened.is_kept
                await asyncio.to_thread(opened.collection.close)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
