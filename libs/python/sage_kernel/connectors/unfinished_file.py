"""A file that appears when it is whole: written beside its place, to a length that every checkpoint knows."""

from __future__ import annotations

import contextlib
import errno
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
        self._is_published = False

    @property
    def is_published(self) -> bool:
        """Whether a run before this one has put the file in its place."""
        return self._is_published

    @property
    def length(self) -> int:
        """How long the file is so far."""
        return self._length

    def append(self, data: bytes) -> None:
        """Write at the end. Raises OSError; nothing of ``data`` is in the file then."""
        file = self._opened()
        rest = memoryview(data)
        try:
            while rest:
                # A disk that is nearly full takes a part, and says so by its length alone.
                rest = rest[file.write(rest) :]
        except OSError:
            self._cut(file, self._length)
            raise
        self._length += len(data)

    def sync(self) -> int:
        """Bring everything to the disk, and return the length. Raises OSError."""
        if self._is_published:
            return self._length
        os.fsync(self._opened().fileno())
        self._is_kept = True
        return self._length

    def restore(self, length: int) -> None:
        """Cut the file to its length at a checkpoint. Raises OSError where it is gone."""
        try:
            file = self._opened(must_exist=True)
        except FileNotFoundError:
            if not self.path.exists():
                raise
            # It was published before the run ended, or somebody took it away: then the next record finds out.
            self._is_published = True
            return
        self._cut(file, length)
        self._length = length
        self._is_kept = True

    def publish(self) -> None:
        """Put the file in its place, whole. Raises OSError."""
        if self._is_published:
            return
        self.sync()
        self._opened().close()
        self._file = None
        os.replace(self._unfinished, self.path)
        self._is_published = True
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file; one that no checkpoint knows of is removed."""
        if self._file is not None:
            # A run that has taken this one over may have begun one of the same name.
            is_own = _is_at(self._file, self._unfinished)
            self._file.close()
            self._file = None
            if not self._is_kept and is_own:
                self._unfinished.unlink(missing_ok=True)

    def _opened(self, *, must_exist: bool = False) -> IO[bytes]:
        if self._is_published:
            raise FileNotFoundError(
                errno.ENOENT, f"{self._unfinished}, which the run was writing, is gone; start again"
            )
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not must_exist:
                # Not emptied: an earlier run of this name may not know yet that it was taken over, and write on.
                self._unfinished.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if must_exist else os.O_CREAT | os.O_EXCL)
            # Unbuffered: what a failed write leaves behind is known.
            self._file = os.fdopen(os.open(self._unfinished, flags, 0o666), "r+b", buffering=0)
        return self._file

    @staticmethod
    def _cut(file: IO[bytes], length: int) -> None:
        file.truncate(length)
        file.seek(length)


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
