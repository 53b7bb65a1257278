"""A file that appears when it is whole: written beside its place, to a length that every checkpoint knows."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO


class UnfinishedFile:
    """Appends to a file beside the wanted one, and moves it there at the end.

    Args:
        path: where the whole file shall be.
        run_id: tells the unfinished files of different runs apart.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self._unfinished = path.with_name(f".{path.name}.{run_id}")
        self._file: IO[bytes] | None = None
        self._length = 0
        self._is_kept = False

    @property
    def length(self) -> int:
        """How long the file is so far."""
        return self._length

    def append(self, data: bytes) -> None:
        """Write at the end. Raises OSError; nothing of ``data`` is in the file then."""
        file = self._opened()
        try:
            file.write(data)
        except OSError:
            self._cut(file, self._length)
            raise
        self._length += len(data)

    def sync(self) -> int:
        """Bring everything to the disk, and return the length. Raises OSError."""
        os.fsync(self._opened().fileno())
        self._is_kept = True
        return self._length

    def restore(self, length: int) -> None:
        """Cut the file to its length at a checkpoint. Raises OSError where it is gone."""
        if not self._unfinished.exists() and self.path.exists():
            return  # it was published before the run ended
        self._cut(self._opened(must_exist=True), length)
        self._length = length
        self._is_kept = True

    def publish(self) -> None:
        """Put the file in its place, whole. Raises OSError."""
        if self._file is None and not self._unfinished.exists() and self.path.exists():
            return
        self.sync()
        self._opened().close()
        self._file = None
        os.replace(self._unfinished, self.path)
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file; one that no checkpoint knows of is removed."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if not self._is_kept:
                self._unfinished.unlink(missing_ok=True)

    def _opened(self, *, must_exist: bool = False) -> IO[bytes]:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if must_exist else os.O_CREAT | os.O_TRUNC)
            # Unbuffered: what a failed write leaves behind is known.
            self._file = os.fdopen(os.open(self._unfinished, flags, 0o666), "r+b", buffering=0)
        return self._file

    @staticmethod
    def _cut(file: IO[bytes], length: int) -> None:
        file.truncate(length)
        file.seek(length)


def sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
