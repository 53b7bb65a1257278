"""Writing records to Parquet: parts while the pipeline runs, one file or a folder of them at the end."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import polars as pl

from sage_common.errors import UnprocessableError
from sage_common.folder_sync import sync_folder
from sage_kernel.connectors.attempt_files import AttemptFiles
from sage_kernel.connectors.patience import Attempts
from sage_kernel.connectors.thread_lane import ThreadLane
from sage_kernel.operator import State

# What makes a part before a checkpoint does.
_PART_RECORDS = 262_144
_PART_BYTES = 64 * 1024 * 1024


class ParquetSink:
    """Writes numbered parts into a folder beside the wanted place, one of its own for each attempt of the run.

    A checkpoint holds how many parts there were, and where; whoever goes on from there links them. At the end they are
    merged into one file; a path that ends with ``/`` gets the folder of parts as it is.

    Args:
        path: of the file, or of the folder.
        schema: of the file where no record ever comes.
    """

    def __init__(
        self, path: Path, as_folder: bool, run_id: str, schema: dict[str, pl.DataType], patience: Attempts
    ) -> None:
        self._path = path
        self._as_folder = as_folder
        self._schema = schema
        self._patience = patience
        self._files = AttemptFiles(run_id)
        self._parts_folder = self._files.beside(path)
        self._parts = 0
        self._waiting: list[pl.DataFrame] = []
        self._waiting_records = self._waiting_bytes = 0
        self._is_kept = False
        self._is_published = False
        self._lane = ThreadLane()

    async def write(self, frame: pl.DataFrame) -> None:
        """Take records; a part is written when there are enough. Raises OSError from the disk."""
        if any(column.dtype == pl.Object for column in frame.get_columns()):
            raise UnprocessableError("a field holds Python objects, which Parquet has no form for; choose 'fields'")
        self._waiting.append(frame)
        self._waiting_records += frame.height
        self._waiting_bytes += int(frame.estimated_size())
        if self._waiting_records >= _PART_RECORDS or self._waiting_bytes >= _PART_BYTES:
            await self._patience.attempt(lambda: self._lane.call(self._write_part))

    async def flush(self) -> State:
        """Write what waits as a part."""
        await self._patience.attempt(lambda: self._lane.call(self._write_part))
        self._is_kept = True
        return State({"folder": self._parts_folder.name, "parts": self._parts})

    async def restore(self, state: State) -> None:
        """Take over the parts of the checkpoint."""
        folder, parts = self._path.with_name(str(state.values["folder"])), int(str(state.values["parts"]))
        await self._lane.call(self._take_over, folder, parts)

    async def publish(self) -> None:
        """Put the file or folder in its place."""
        await self._patience.attempt(lambda: self._lane.call(self._publish))

    async def close(self) -> None:
        """Remove parts that no checkpoint knows of."""
        await self._lane.close(self._remove_unknown)

    def _remove_unknown(self) -> None:
        if not self._is_kept:
            shutil.rmtree(self._parts_folder, ignore_errors=True)

    def _part(self, number: int) -> Path:
        return self._parts_folder / f"part-{number:05}.parquet"

    def _write_part(self) -> None:
        if not self._waiting:
            return
        if self._is_published and self._parts:
            raise FileNotFoundError(errno.ENOENT, f"the parts in {self._parts_folder} are gone; start again")
        self._parts_folder.mkdir(parents=True, exist_ok=True)
        frame = pl.concat(self._waiting, how="vertical") if len(self._waiting) > 1 else self._waiting[0]
        _write_synced(frame, self._part(self._parts))
        self._parts += 1
        self._waiting.clear()
        self._waiting_records = self._waiting_bytes = 0

    def _take_over(self, folder: Path, parts: int) -> None:
        self._parts = parts
        if not folder.exists():
            if parts and not self._path.exists():
                raise FileNotFoundError(errno.ENOENT, f"the parts in {folder} are gone; start again")
            # They were published before the run ended, or somebody took them away: then the next record finds out.
            self._is_published = self._path.exists()
            return
        self._parts_folder.mkdir(parents=True)
        for number in range(parts):
            # A part never changes.
            os.link(folder / self._part(number).name, self._part(number))

    def _publish(self) -> None:
        if self._is_published:
            return
        self._parts_folder.mkdir(parents=True, exist_ok=True)
        if not self._parts:
            _write_synced(pl.DataFrame(schema=self._schema), self._part(0))
            self._parts = 1
        if self._as_folder:
            self._show_folder()
        else:
            whole = self._parts_folder / "whole"
            parts = [self._part(number) for number in range(self._parts)]
            # The parts stay until the file is in its place: the next run may have to do this again.
            whole.unlink(missing_ok=True)
            if len(parts) == 1:
                os.link(parts[0], whole)
            else:
                pl.scan_parquet(parts, glob=False).sink_parquet(whole, row_group_size=_PART_RECORDS)
                _sync(whole)
            os.replace(whole, self._path)
        self._files.remove_all(self._path)
        sync_folder(self._path.parent)
        self._is_published = True

    def _show_folder(self) -> None:
        if self._path.exists():
            os.replace(self._path, self._files.beside(self._path, ".old"))
        os.replace(self._parts_folder, self._path)


def _write_synced(frame: pl.DataFrame, path: Path) -> None:
    unfinished = path.with_suffix(".unfinished")
    try:
        frame.write_parquet(unfinished, row_group_size=_PART_RECORDS)
    except pl.exceptions.PolarsError as error:
        raise UnprocessableError(f"it cannot be written as Parquet: {' '.join(str(error).split())[:200]}") from None
    _sync(unfinished)
    os.replace(unfinished, path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
