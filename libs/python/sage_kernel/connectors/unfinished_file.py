"""A file that appears when it is whole: written beside its place in segments, whose lengths every checkpoint knows.

Each attempt of a run appends to a segment of its own. One that was stopped for a while and has been taken over since
may wake up in the middle of a write: what it writes then is behind the length that counts of its segment.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from sage_common.folder_sync import sync_folder
from sage_kernel.connectors.attempt_files import AttemptFiles

_COPY_BYTES = 1024 * 1024


class Segment(NamedTuple):
    """A file beside the wanted one, and how many of its bytes count."""

    name: str
    length: int


class UnfinishedFile:
    """Appends to a segment of this attempt, and puts the segments together in the wanted place at the end.

    Args:
        path: where the whole file shall be.
        run_id: tells the segments of different runs apart.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self._files = AttemptFiles(run_id)
        self._own = self._files.beside(path)
        self._before: tuple[Segment, ...] = ()
        self._file: IO[bytes] | None = None
        self._length = 0
        self._is_kept = False
        self._is_published = False

    @property
    def is_published(self) -> bool:
        """Whether a run before this one has put the file in its place."""
        return self._is_published

    @property
    def length(self) -> int:
        """How long the file is so far, in bytes."""
        return sum(segment.length for segment in self._before) + self._length

    def append(self, data: bytes) -> None:
        """Write at the end. Raises OSError; nothing of ``data`` is in the file then."""
        file = self._opened()
        rest = memoryview(data)
        try:
            while rest:
                # A disk that is nearly full takes a part, and says so by its length alone.
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(self._length)
            file.seek(self._length)
            raise
        self._length += len(data)

    def sync(self) -> list[Segment]:
        """Bring everything to the disk, and return what there is. Raises OSError."""
        if self._length or not self._before:
            os.fsync(self._opened().fileno())
            self._is_kept = True
        return self._segments()

    def restore(self, segments: Sequence[Segment]) -> None:
        """Go on behind the segments of a checkpoint. Raises OSError where one is gone."""
        self._before = tuple(segments)
        self._is_published = self._was_published()

    def publish(self) -> None:
        """Put the file in its place, whole. Raises OSError."""
        if self._is_published:
            return
        segments = self.sync()
        if not self._was_published():
            whole = self._own
            if self._before:
                whole = self._files.beside(self.path, ".whole")
                self._join(segments, whole)
            os.replace(whole, self.path)
        self._is_published = True
        self.close()
        # Whoever still writes to one of them writes to nobody.
        self._files.remove_all(self.path)
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the segment; one that no checkpoint knows of is removed."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if not self._is_kept:
                self._own.unlink(missing_ok=True)

    def _was_published(self) -> bool:
        """Whether an earlier attempt has put its segments in their place. Raises FileNotFoundError: they are gone."""
        for name, length in self._before:
            segment = self.path.with_name(name)
            if not segment.exists() or segment.stat().st_size < length:
                if self.path.exists() and self.path.stat().st_size >= self.length:
                    return True
                raise FileNotFoundError(errno.ENOENT, f"{segment}, which the run has written, is gone; start again")
        return False

    def _segments(self) -> list[Segment]:
        own = [Segment(self._own.name, self._length)] if self._length or not self._before else []
        return [*self._before, *own]

    def _join(self, segments: Sequence[Segment], whole: Path) -> None:
        with whole.open("wb") as target:
            for name, length in segments:
                with self.path.with_name(name).open("rb") as source:
                    left = length
                    while left:
                        piece = source.read(min(left, _COPY_BYTES))
                        if not piece:
                            raise OSError(errno.EIO, f"{self.path.with_name(name)} has become shorter; start again")
                        target.write(piece)
                        left -= len(piece)
            target.flush()
            os.fsync(target.fileno())

    def _opened(self) -> IO[bytes]:
        if self._is_published:
            raise FileNotFoundError(errno.ENOENT, f"{self._own}, which the run was writing, is gone; start again")
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL
            # Unbuffered: what a failed write leaves behind is known.
            self._file = os.fdopen(os.open(self._own, flags, 0o666), "r+b", buffering=0)
        return self._file
