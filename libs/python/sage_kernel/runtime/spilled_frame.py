"""Frames that wait on the disk."""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl

from sage_kernel.ipc_stream import write_ipc_stream


class SpillSegment:
    """Frames in one file without a name: the system removes it with the last reference, after kill -9 too."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, prefix="sage-spill-")  # noqa: SIM115 - lives with self
        self.bytes = 0

    def write(self, frame: pl.DataFrame) -> tuple[int, int]:
        """Append a frame and return its offset and length. Raises OSError; nothing was appended then."""
        buffer = io.BytesIO()
        write_ipc_stream(frame, buffer, "lz4")
        data = buffer.getbuffer()
        offset, written = self.bytes, 0
        while written < len(data):
            written += os.pwrite(self._file.fileno(), data[written:], offset + written)
        self.bytes += len(data)
        return offset, len(data)

    def read(self, offset: int, length: int) -> pl.DataFrame:
        """Return the frame at a place."""
        return pl.read_ipc_stream(io.BytesIO(os.pread(self._file.fileno(), length, offset)))

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()


@dataclass(frozen=True)
class SpilledFrame:
    """A frame on the disk. It stays readable for as long as something refers to it."""

    segment: SpillSegment
    offset: int
    length: int
    height: int

    def read(self) -> pl.DataFrame:
        """Return the frame. Raises OSError."""
        return self.segment.read(self.offset, self.length)
