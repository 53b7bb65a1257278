"""Where large values are kept by name: a folder here, an object store elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from sage_common.folder_sync import sync_folder


class BlobStore(Protocol):
    """Values by name. A name has its whole value or none, whatever happens while it is written."""

    async def put(self, name: str, write: Callable[[BinaryIO], None]) -> None:
        """Keep what ``write`` writes; it is called in a thread. Raises OSError or SageError; nothing is kept then."""
        ...

    async def open(self, name: str) -> BinaryIO:
        """Return the value as a seekable file that stays readable also when the name is deleted.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        ...

    async def names(self) -> Sequence[str]:
        """Return the names, sorted."""
        ...

    async def delete(self, name: str) -> None:
        """Delete a value; one that is not there counts as deleted."""
        ...


class FileBlobs:
    """One file a value: written beside its place, brought to the disk, and renamed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, write: Callable[[BinaryIO], None]) -> None:
        """Keep what ``write`` writes."""
        await asyncio.to_thread(self._put, name, write)

    async def open(self, name: str) -> BinaryIO:
        """Return the value."""
        return await asyncio.to_thread((self._folder / name).open, "rb")

    async def names(self) -> Sequence[str]:
        """Return the names, without those of unfinished files, which begin with a dot."""
        return await asyncio.to_thread(self._names)

    async def delete(self, name: str) -> None:
        """Delete a value."""
        await asyncio.to_thread((self._folder / name).unlink, missing_ok=True)

    def _put(self, name: str, write: Callable[[BinaryIO], None]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder / f".{name}.{secrets.token_hex(4)}"
        try:
            with unfinished.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self._folder / name)
            sync_folder(self._folder)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise

    def _names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if not path.name.startswith("."))
