"""Records of Parquet files: read by row numbers, each file in parts."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.file_listing import list_files
from sage_kernel.connectors.frame_decoder import FrameDecoder
from sage_kernel.connectors.isolation import refused
from sage_kernel.connectors.source_options import SourceOptions
from sage_kernel.file_access import FileAccess
from sage_kernel.operator import Position, SourceBatch, Split
from sage_kernel.problems import PositionGoneError

MAX_BATCH_RECORDS = 65_536
_FIRST_BATCH_RECORDS = 4096
_BATCH_BYTES = 32 * 1024 * 1024
# A part of a file that is worth a task of its own; polars passes over the row groups before it.
SPLIT_RECORDS = 4 * 1024 * 1024
_FOOTER_BYTES = 4096

T = TypeVar("T")


class ParquetSource:
    """Reads the files that a pattern matches, in the order of their names."""

    def __init__(self, pattern: str, options: SourceOptions, files: FileAccess) -> None:
        self._pattern = pattern
        self._options = options
        self._files = files
        self._fields: Mapping[str, pl.DataType] | None = options.schema
        self._row_count: int | None = None

    async def splits(self) -> Sequence[Split]:
        """Return the files; large ones in ranges of rows."""
        return await asyncio.to_thread(self._splits)

    async def count(self) -> int:
        """Return the rows of all files, as their footers say."""
        if self._row_count is None:
            await self.splits()
        assert self._row_count is not None
        return self._row_count

    async def discover(self) -> Mapping[str, pl.DataType]:
        """Return the fields of the first file."""
        if self._fields is None:
            self._fields = self._options.inferred(await asyncio.to_thread(self._first_schema))
        return self._fields

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield the records of a part. Raises PositionGoneError."""
        assert isinstance(split, dict)
        path, start, end = str(split["path"]), int(str(split.get("start", 0))), split.get("end")
        decoder = FrameDecoder(self._options.conformer(await self.discover()))
        with self._files.open(Path(path)) as file:
            mark = _mark(file)
            if position is not None:
                start = _resume(position, mark, path)
            last = await asyncio.to_thread(_rows, file, path)
            if isinstance(end, int):
                last = min(last, end)
            count = _FIRST_BATCH_RECORDS
            while start < last:
                count = min(count, last - start)
                rows = await asyncio.to_thread(self._read, file, path, start, count)
                decoded = await asyncio.to_thread(decoder.decode, rows)
                first = start
                start += rows.height
                yield SourceBatch(
                    decoded.frame,
                    {"row": start, "mark": mark},
                    refused(decoded.bad, _row_of(path, first)),
                )
                # Rows may hold whole documents.
                row_bytes = max(1, int(rows.estimated_size()) // max(1, rows.height))
                count = max(1, min(MAX_BATCH_RECORDS, _BATCH_BYTES // row_bytes))

    def _splits(self) -> list[Split]:
        parts: list[Split] = []
        count = 0
        for path in list_files(self._pattern, self._files, self._options.max_files):
            with self._files.open(path) as file:
                rows = _rows(file, str(path))
            count += rows
            if rows < 2 * SPLIT_RECORDS:
                parts.append({"path": str(path)})
                continue
            for start in range(0, rows, SPLIT_RECORDS):
                parts.append({"path": str(path), "start": start, "end": min(rows, start + SPLIT_RECORDS)})
        self._row_count = count
        return parts

    def _first_schema(self) -> Mapping[str, pl.DataType]:
        path = list_files(self._pattern, self._files, self._options.max_files)[0]
        with self._files.open(path) as file:
            return _polars_errors_named(str(path), lambda: pl.scan_parquet(_name_of(file), glob=False).collect_schema())

    def _read(self, file: IO[bytes], path: str, start: int, count: int) -> pl.DataFrame:
        def read() -> pl.DataFrame:
            rows = pl.scan_parquet(_name_of(file), glob=False)
            if self._options.extra == "drop" and self._fields is not None:
                there = rows.collect_schema()
                wanted = [name for name in self._fields if name in there]
                if not wanted:
                    # A frame without columns has no rows either, and the part would never be read to its end.
                    return pl.DataFrame({"": pl.Series([None] * count, dtype=pl.Null)})
                rows = rows.select(wanted)
            return rows.slice(start, count).collect()

        return _polars_errors_named(path, read)


def _row_of(path: str, first: int) -> Callable[[int], str]:
    return lambda index: f"{os.path.basename(path)}, row {first + index + 1}"


def _rows(file: IO[bytes], path: str) -> int:
    scan = pl.scan_parquet(_name_of(file), glob=False)
    return _polars_errors_named(path, lambda: int(scan.select(pl.len()).collect().item()))


def _name_of(file: IO[bytes]) -> str:
    """Return a path that leads to the file that was opened, whatever has become of its own."""
    link = f"/proc/self/fd/{file.fileno()}"
    return link if os.path.exists(link) else str(file.name)


def _mark(file: IO[bytes]) -> int:
    """Return a checksum of the file's length and of its footer, which says where all its parts lie."""
    size = os.fstat(file.fileno()).st_size
    return zlib.crc32(os.pread(file.fileno(), _FOOTER_BYTES, max(0, size - _FOOTER_BYTES)), size & 0xFFFFFFFF)


def _resume(position: Position, mark: int, path: str) -> int:
    if not isinstance(position, dict) or position.get("mark") != mark:
        raise PositionGoneError(
            f"{path} is not the file that was read before: it was replaced",
            "put the file back, or start again from what is there, without the checkpoint",
        )
    return int(str(position["row"]))


def _polars_errors_named(path: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except pl.exceptions.PolarsError as error:
        raise UnprocessableError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from None
