"""Where a source stands in a file, so that it notices when the file behind its path is another."""

from __future__ import annotations

import os
import zlib
from typing import IO, NamedTuple

from sage_kernel.operator import Position
from sage_kernel.problems import PositionGoneError

# A file is known by its first bytes and the last ones before the position: it may grow, but not change before it.
_MARK_BYTES = 1024


class FilePosition(NamedTuple):
    """How far a file has been read.

    Attributes:
        at: offset of the next record.
        mark: checksum of what lies before it.
    """

    at: int
    mark: int

    @classmethod
    def of(cls, file: IO[bytes], at: int) -> FilePosition:
        """Return the position ``at`` of ``file``."""
        descriptor = file.fileno()
        head = os.pread(descriptor, min(_MARK_BYTES, at), 0)
        begin = max(0, at - _MARK_BYTES)
        return cls(at, zlib.crc32(os.pread(descriptor, at - begin, begin), zlib.crc32(head)))

    def to_json(self) -> Position:
        """Return JSON values."""
        return {"at": self.at, "mark": self.mark}

    @classmethod
    def resume(cls, position: Position, file: IO[bytes], name: str) -> int:
        """Return where to go on in ``file``.

        Raises:
            PositionGoneError: the file is shorter than that, or another than it was.
        """
        if not isinstance(position, dict):
            raise PositionGoneError(f"{name}: the position {str(position)[:80]!r} is none of a file", _REMEDY)
        at, mark = int(str(position["at"])), int(str(position["mark"]))
        size = os.fstat(file.fileno()).st_size
        if size < at:
            raise PositionGoneError(f"{name} has {size} bytes, and byte {at} was next: it was cut or replaced", _REMEDY)
        if cls.of(file, at).mark != mark:
            raise PositionGoneError(f"{name} is not the file that was read up to byte {at}: it was replaced", _REMEDY)
        return at


_REMEDY = "put the file back, or start again from what is there, without the checkpoint"


class LineNumbers:
    """Says on which line an offset of a file lies; counts only when it is asked, on from where it was asked last."""

    def __init__(self, file: IO[bytes]) -> None:
        self._descriptor = file.fileno()
        self._offset = 0
        self._lines = 1

    def at(self, offset: int) -> int:
        """Return the line, counted from 1, on which the byte at ``offset`` lies."""
        if offset < self._offset:
            self._offset, self._lines = 0, 1
        while self._offset < offset:
            chunk = os.pread(self._descriptor, min(1 << 20, offset - self._offset), self._offset)
            if not chunk:
                break
            self._lines += chunk.count(b"\n")
            self._offset += len(chunk)
        return self._lines
