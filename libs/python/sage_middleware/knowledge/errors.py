"""What SQLite's failures mean to the people whose file it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sage_common.errors import ConflictError, InternalError, PermissionDeniedError, SageError, UnprocessableError

_BY_WORDS: tuple[tuple[str, type[SageError], str], ...] = (
    ("database or disk is full", UnprocessableError, "the disk is full; free some room and ingest again"),
    ("disk i/o error", UnprocessableError, "the disk failed or is full; see to it and ingest again"),
    ("readonly", PermissionDeniedError, "it cannot be written; give its file and folder write permission"),
    ("unable to open", PermissionDeniedError, "it cannot be opened; look at the permissions of its folder"),
    ("locked", ConflictError, "another process writes it; try again when that has ended"),
    ("not a database", UnprocessableError, "it is not a knowledge base; move the file away or choose another name"),
    ("malformed", UnprocessableError, "it is damaged; drop it and ingest its folders again"),
)


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into errors that name ``path`` and say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        words = str(error).lower()
        for part, kind, remedy in _BY_WORDS:
            if part in words:
                raise kind(f"{path}: {remedy} (SQLite: {error})", code="knowledge_base") from error
        raise InternalError(f"{path}: SQLite failed: {error}") from error
