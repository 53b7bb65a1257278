"""Records of text files, JSON Lines or CSV: read in blocks, from any position, each file in parts."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.conform import Conformer
from sage_kernel.connectors.file_listing import list_files
from sage_kernel.connectors.file_position import FilePosition, LineNumbers
from sage_kernel.connectors.isolation import BadRecord, Decoded, refused
from sage_kernel.connectors.record_blocks import Block, first_record_from, read_blocks
from sage_kernel.connectors.source_options import SourceOptions
from sage_kernel.file_access import FileAccess
from sage_kernel.operator import Position, SourceBatch, Split

MAX_BATCH_RECORDS = 65_536
_FIRST_BLOCK_BYTES = 512 * 1024
_MOST_BLOCK_BYTES = 4 * 1024 * 1024
_LEAST_BLOCK_BYTES = 64 * 1024
# A part of a file that is worth a task of its own.
SPLIT_BYTES = 64 * 1024 * 1024
SAMPLE_BYTES = 4 * 1024 * 1024
MOST_COUNTED_BYTES = 4 * 1024**3
_COUNT_BYTES = 4 * 1024 * 1024
_EMPTY_LINES = re.compile(rb"\n{2,}")


class BlockDecoder(Protocol):
    """Decodes whole records of a file."""

    def decode_block(self, block: bytes) -> Decoded:
        """Return records, and those that do not fit by their number."""
        ...


class TextFormat(Protocol):
    """What the formats of text differ in."""

    can_be_split: bool

    def boundary(self, data: bytes) -> int:
        """Return the length of the whole records at the beginning of ``data``."""
        ...

    def open(self, file: IO[bytes], conformer: Conformer) -> tuple[int, BlockDecoder]:
        """Return where the records of ``file`` begin, and their decoder. Raises UnprocessableError."""
        ...

    def line_of(self, block: bytes, index: int) -> int:
        """Return how many line breaks lie before the record of this index."""
        ...

    def infer(self, sample: bytes) -> Mapping[str, pl.DataType]:
        """Return the fields of the whole records in ``sample``. Raises UnprocessableError where there are none."""
        ...


@dataclass(frozen=True)
class FilePart:
    """The records of a file that begin in ``[start, end)``; ``end`` None reads to wherever the file ends."""

    path: str
    start: int = 0
    end: int | None = None

    @classmethod
    def of(cls, split: Split) -> FilePart:
        """Read JSON values."""
        assert isinstance(split, dict)
        end = split.get("end")
        return cls(str(split["path"]), int(str(split.get("start", 0))), None if end is None else int(str(end)))

    def to_json(self) -> Split:
        """Return JSON values."""
        if self.start == 0 and self.end is None:
            return {"path": self.path}
        return {"path": self.path, "start": self.start, "end": self.end}


class TextFileSource:
    """Reads the files that a pattern matches, in the order of their names."""

    def __init__(self, pattern: str, text_format: TextFormat, options: SourceOptions, files: FileAccess) -> None:
        self._pattern = pattern
        self._format = text_format
        self._options = options
        self._files = files
        self._fields: Mapping[str, pl.DataType] | None = options.schema

    async def splits(self) -> Sequence[Split]:
        """Return the files; large ones in parts where the format has line breaks between records only."""
        paths = await asyncio.to_thread(list_files, self._pattern, self._files, self._options.max_files)
        parts: list[FilePart] = []
        for path in paths:
            size = path.stat().st_size
            if not self._format.can_be_split or size < 2 * SPLIT_BYTES:
                parts.append(FilePart(str(path)))
                continue
            starts = range(0, size - SPLIT_BYTES + 1, SPLIT_BYTES)
            ends: list[int | None] = [*starts[1:], None]
            parts.extend(FilePart(str(path), start, end) for start, end in zip(starts, ends, strict=True))
        return [part.to_json() for part in parts]

    async def count(self) -> int:
        """Return how many records the files hold. Raises UnprocessableError where finding out is as dear as reading."""
        if not self._format.can_be_split:
            raise UnprocessableError("a record of this format is no line; they are counted as they are read")
        paths = await asyncio.to_thread(list_files, self._pattern, self._files, self._options.max_files)
        if sum(path.stat().st_size for path in paths) > MOST_COUNTED_BYTES:
            raise UnprocessableError(f"files of more than {MOST_COUNTED_BYTES} bytes are not read only to be counted")
        return sum([await self._count_lines(path) for path in paths])

    async def _count_lines(self, path: Path) -> int:
        lines, before = 0, b"\n"
        with self._files.open(path) as file:
            # Piece by piece, so that whoever waits no more is not kept busy.
            while data := await asyncio.to_thread(file.read, _COUNT_BYTES):
                lines += await asyncio.to_thread(_line_ends, before + data)
                before = data[-1:]
        return lines + (before != b"\n")

    async def discover(self) -> Mapping[str, pl.DataType]:
        """Return the fields of the first file's first records."""
        if self._fields is None:
            self._fields = await asyncio.to_thread(self._discover)
        return self._fields

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield the records of a part. Raises PositionGoneError."""
        conformer = self._options.conformer(await self.discover())
        part = FilePart.of(split)
        reading = _Reading(self._files.open(Path(part.path)), part, self._format, conformer, position)
        try:
            while (batch := await asyncio.to_thread(reading.next)) is not None:
                yield batch
        finally:
            reading.close()

    def _discover(self) -> Mapping[str, pl.DataType]:
        paths = list_files(self._pattern, self._files, self._options.max_files)
        for path in paths:
            with self._files.open(path) as file:
                sample = file.read(SAMPLE_BYTES)
            whole = self._format.boundary(sample) if len(sample) == SAMPLE_BYTES else len(sample)
            if sample[:whole].strip():
                try:
                    return self._options.inferred(self._format.infer(sample[:whole]))
                except UnprocessableError as error:
                    raise UnprocessableError(f"{path}: {error.message}") from None
        raise UnprocessableError(f"{paths[0]} holds no record to read the fields off; state them as 'schema'")


class _Reading:
    """One pass over a part, in whatever thread asks."""

    def __init__(
        self, file: IO[bytes], part: FilePart, text_format: TextFormat, conformer: Conformer, position: Position
    ) -> None:
        self._file = file
        self._name = os.path.basename(part.path)
        self._format = text_format
        self._lines = LineNumbers(file)
        self._block_bytes = _FIRST_BLOCK_BYTES
        self._one_at_a_time = threading.Lock()
        try:
            begin, self._decoder = text_format.open(file, conformer)
            if position is not None:
                start = FilePosition.resume(position, file, part.path)
            else:
                start = max(begin, first_record_from(file, part.start))
            blocks = read_blocks(
                file, start, part.end, lambda: self._block_bytes, conformer.max_record_bytes, text_format.boundary
            )
            self._blocks = (piece for block in blocks for piece in self._pieces(block))
        except UnprocessableError as error:
            file.close()
            raise UnprocessableError(f"{part.path}: {error.message}") from None
        except BaseException:
            file.close()
            raise

    def next(self) -> SourceBatch | None:
        """Return the next records, or None behind the last."""
        with self._one_at_a_time:
            block = next(self._blocks, None)
            if block is None:
                return None
            decoded = self._too_long(block) if block.is_too_long else self._decoder.decode_block(block.data)
            records = decoded.frame.height + len(decoded.bad)
            if records:
                # As many bytes as make a batch, from what a record took here.
                wanted = len(block.data) * (MAX_BATCH_RECORDS * 7 // 8) // records
                self._block_bytes = min(_MOST_BLOCK_BYTES, max(_LEAST_BLOCK_BYTES, wanted))
            position = FilePosition.of(self._file, block.end).to_json()
            return SourceBatch(decoded.frame, position, refused(decoded.bad, lambda index: self._place(block, index)))

    def close(self) -> None:
        """Close the file, when nobody reads it any more."""
        with self._one_at_a_time:
            self._file.close()

    def _place(self, block: Block, index: int) -> str:
        line = self._lines.at(block.start) + self._format.line_of(block.data, index)
        return f"{self._name}:{line}"

    def _too_long(self, block: Block) -> Decoded:
        reason = f"it has more than {block.end - block.start - 1} bytes; raise 'max_record_bytes' or send a reference"
        return Decoded(self._decoder.decode_block(b"").frame, [BadRecord(0, block.data, reason)])

    def _pieces(self, block: Block) -> Iterator[Block]:
        """Cut a block that holds more records than a batch may."""
        start, data = block.start, block.data
        while not block.is_too_long and data.count(b"\n") > MAX_BATCH_RECORDS:
            cut = self._format.boundary(data[: _after_line(data, MAX_BATCH_RECORDS)])
            if not cut:
                break
            yield Block(start, data[:cut], start + cut)
            start, data = start + cut, data[cut:]
        yield Block(start, data, block.end, block.is_too_long)


def _after_line(data: bytes, count: int) -> int:
    at = -1
    for _ in range(count):
        at = data.find(b"\n", at + 1)
    return at + 1


def _line_ends(data: bytes) -> int:
    """Return how many lines end behind the first byte of ``data``, empty ones aside."""
    empty = sum(len(run) - 1 for run in _EMPTY_LINES.findall(data)) if b"\n\n" in data else 0
    return data.count(b"\n", 1) - empty
