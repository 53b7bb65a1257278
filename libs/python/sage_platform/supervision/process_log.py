"""Log files of supervised processes: opening them, rotating them by size, and reading the end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sage_common.logging import get_logger
from sage_common.service_settings import LogSettings

log = get_logger(__name__)

ROTATE_BYTES = 16 * 1024 * 1024
KEPT_FILES = 3
LOOK_SECONDS = 1.0


def log_path(directory: Path, name: str) -> Path:
    """The log file of a process."""
    return directory / f"{name}.log"


def open_log(path: Path) -> IO[bytes]:
    """Open ``path`` for appending, after rotating it when it has grown past ROTATE_BYTES.

    The process holds the file itself, with no pipe in between that could block it or lose its last output.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > ROTATE_BYTES:
        _make_place(path, KEPT_FILES)
        path.replace(_rotated(path, 1))
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


@dataclass(frozen=True)
class LogLimits:
    """How large logs may grow.

    Attributes:
        max_file_bytes: of one file; beyond it the file is rotated.
        kept_files: rotated files kept of each log.
        max_total_bytes: of all files together; beyond it the oldest rotated ones are removed.
    """

    max_file_bytes: int = ROTATE_BYTES
    kept_files: int = KEPT_FILES
    max_total_bytes: int = 256 * 1024 * 1024

    @classmethod
    def of(cls, settings: LogSettings) -> LogLimits:
        """Return the limits that the settings name."""
        return cls(settings.max_file_bytes, settings.kept_files, settings.max_total_bytes)


class LogRotation:
    """Keeps the log files below a directory within their limits while processes write to them.

    A process holds its file open, so the file stays: its content is copied and the file cut to nothing. Files are
    opened for appending, so the next line goes to the beginning. One written between copy and cut is lost.

    Args:
        directory: every ``*.log`` in it and below it is kept within the limits, with its rotated files.
    """

    def __init__(self, directory: Path, limits: LogLimits) -> None:
        self._directory = directory
        self._limits = limits

    async def run(self) -> None:
        """Rotate what has grown too large, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.rotate)

    def rotate(self) -> None:
        """Bring every file and the whole within the limits. Blocks."""
        for path in self._directory.rglob("*.log"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size > self._limits.max_file_bytes:
                    self._cut(path)
        self._limit_total()

    def _cut(self, path: Path) -> None:
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process is at it
            if os.fstat(file.fileno()).st_size <= self._limits.max_file_bytes:
                return  # another process has done it meanwhile
            try:
                if self._limits.kept_files > 0:
                    _make_place(path, self._limits.kept_files)
                    with open(os.open(_rotated(path, 1), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
                        shutil.copyfileobj(file, copy, 1024 * 1024)
            except OSError as error:
                # A full disk: the copy has no place, and the log must not grow for ever.
                log.error("log file not kept when it was rotated", file=str(path), error=str(error))
                _rotated(path, 1).unlink(missing_ok=True)
            file.truncate(0)

    def _limit_total(self) -> None:
        sizes: dict[Path, os.stat_result] = {}
        for path in self._directory.rglob("*.log*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    sizes[path] = path.stat()
        excess = sum(status.st_size for status in sizes.values()) - self._limits.max_total_bytes
        if excess <= 0:
            return
        for path in sorted((p for p in sizes if p.suffix != ".log"), key=lambda p: sizes[p].st_mtime):
            if excess > 0:
                path.unlink(missing_ok=True)
                excess -= sizes[path].st_size
        # What is left is being written to: it is cut, the largest first, and not removed.
        for path in sorted((p for p in sizes if p.suffix == ".log"), key=lambda p: -sizes[p].st_size):
            if excess > 0:
                with contextlib.suppress(FileNotFoundError):
                    os.truncate(path, 0)
                excess -= sizes[path].st_size


def last_lines(path: Path, count: int, *, from_byte: int = 0) -> list[str]:
    """Return the last ``count`` lines of ``path`` that begin at or after ``from_byte``; none when it is missing.

    A file shorter than ``from_byte`` was rotated meanwhile, and is read from its beginning.
    """
    try:
        with path.open("rb") as file:
            file.seek(from_byte if from_byte <= file.seek(0, os.SEEK_END) else 0)
            return [line.decode("utf-8", "replace").rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def _make_place(path: Path, kept_files: int) -> None:
    """Move each rotated file one number up, over the oldest."""
    for number in range(kept_files - 1, 0, -1):
        older = _rotated(path, number)
        if older.exists():
            older.replace(_rotated(path, number + 1))


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
