"""Checkpoints as files of a folder, or as values of any other store of blobs."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from pathlib import Path

from sage_common.logging import get_logger
from sage_kernel.state.blobs import BlobStore, FileBlobs
from sage_kernel.state.checkpoint import Checkpoint
from sage_kernel.state.checkpoint_file import TornCheckpointError, read_checkpoint, write_checkpoint

log = get_logger(__name__)
_NAME = re.compile(r"checkpoint-(\d{12})\.sage")
KEPT = 2


class BlobCheckpoints:
    """The checkpoints of one run, one value each; the last ``KEPT`` are kept, so that a torn one has one before it."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def save(self, checkpoint: Checkpoint) -> None:
        """Keep ``checkpoint``, and drop the oldest. Raises OSError or SageError; the one before stays then."""
        name = f"checkpoint-{checkpoint.number:012}.sage"
        await self._blobs.put(name, partial(write_checkpoint, checkpoint))
        for old in (await self._checkpoint_names())[:-KEPT]:
            await self._blobs.delete(old)

    async def latest(self) -> Checkpoint | None:
        """Return the last whole checkpoint; torn ones and other files are left out, with one warning.

        Raises:
            OSError: the store cannot be read.
        """
        skipped: list[str] = []
        found: Checkpoint | None = None
        for name in reversed(await self._checkpoint_names()):
            file = await self._blobs.open(name)
            try:
                found = await asyncio.to_thread(read_checkpoint, file)
                break
            except TornCheckpointError as error:
                skipped.append(f"{name}: {error}")
        if skipped:
            taken = f"checkpoint {found.number}" if found else "none: the run starts at its beginning"
            log.warning("checkpoints are not whole; taking the one before", skipped=skipped, taken=taken)
        return found

    async def discard(self) -> None:
        """Delete all of them."""
        for name in await self._checkpoint_names():
            await self._blobs.delete(name)

    async def _checkpoint_names(self) -> list[str]:
        return [name for name in await self._blobs.names() if _NAME.fullmatch(name)]


class FileCheckpoints(BlobCheckpoints):
    """The checkpoints of one run in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(FileBlobs(folder))
