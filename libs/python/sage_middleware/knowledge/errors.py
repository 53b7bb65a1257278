"""What SQLite's failures mean to the people whose file it is."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sage_common.errors import ConflictError, InternalError, PermissionDeniedError, SageError, UnprocessableError

# What SQLite says, its kind here, what to do, and whether it may pass by itself.
_BY_WORDS: tuple[tuple[str, type[SageError], str, bool], ...] = (
    ("database or disk is full", UnprocessableError, "the disk is full; free some room and ingest again", True),
    ("disk i/o error", UnprocessableError, "the disk failed or is full; see to it and ingest again", True),
    ("readonly", PermissionDeniedError, "it cannot be written; give its file and folder write permission", False),
    ("unable to open", PermissionDeniedError, "it cannot be opened; look at the permissions of its folder", False),
    ("locked", ConflictError, "another process writes it; try again when that has ended", True),
    ("not a database", UnprocessableError, "it is not a knowledge base; move it away or choose another name", False),
    ("malformed", UnprocessableError, "it is damaged; drop it and ingest its folders again", False),
)


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into errors that name ``path`` and say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        words = str(error).lower()
        for part, kind, remedy, may_pass in _BY_WORDS:
            if part in words:
                message = f"{path}: {remedy} (SQLite: {error})"
                raise kind(message, code="knowledge_base", retryable=may_pass) from error
        raise InternalError(f"{path}: SQLite failed: {error}") from error


@contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """Turn the system's errors about a folder of collections into errors that name it and say what to do."""
    try:
        yield
    except PermissionError as error:
        raise PermissionDeniedError(f"{folder} cannot be written; give it write permission, or name another") from error
    except OSError as error:
        raise UnprocessableError(
            f"{folder} cannot be used for knowledge bases: {error.strerror or error}; see to it, or name another",
            retryable=error.errno in (errno.ENOSPC, errno.EDQUOT),
        ) from error
