"""Log files of supervised processes: rotation by size when a process starts, and reading the end."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import IO

ROTATE_BYTES = 16 * 1024 * 1024
KEPT_FILES = 3


def log_path(directory: Path, name: str) -> Path:
    """The log file of a process."""
    return directory / f"{name}.log"


def open_log(path: Path) -> IO[bytes]:
    """Open ``path`` for appending, after rotating it when it has grown past ROTATE_BYTES.

    Rotation happens only here, at a start: a running process holds the file itself, with no pipe in between that
    could block it or lose its last output.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > ROTATE_BYTES:
        for number in range(KEPT_FILES - 1, 0, -1):
            older = _rotated(path, number)
            if older.exists():
                older.replace(_rotated(path, number + 1))
        path.replace(_rotated(path, 1))
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def last_lines(path: Path, count: int, *, from_byte: int = 0) -> list[str]:
    """Return the last ``count`` lines of ``path`` that begin at or after ``from_byte``; none when it is missing."""
    try:
        with path.open("rb") as file:
            file.seek(from_byte)
            return [line.decode("utf-8", "replace").rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
