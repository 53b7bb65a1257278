"""The tables of a collection, and opening its file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sage_common.errors import NotFoundError, UnprocessableError
from sage_middleware.knowledge.errors import sqlite_errors

# "SAGE": SQLite keeps it in the file's header for its owner.
APPLICATION_ID = 0x53414745
SCHEMA_VERSION = 1
_BUSY_SECONDS = 10.0

_TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    title TEXT NOT NULL,
    metadata TEXT NOT NULL,
    UNIQUE (folder, path)
);
CREATE INDEX documents_by_content ON documents (sha256);

CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    document_id INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    heading TEXT NOT NULL,
    text TEXT NOT NULL,
    kind TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    line INTEGER NOT NULL,
    end_line INTEGER NOT NULL,
    page INTEGER,
    content_hash BLOB NOT NULL,
    UNIQUE (document_id, position)
);
CREATE INDEX chunks_by_content ON chunks (content_hash);

CREATE TABLE vectors (
    chunk_id INTEGER PRIMARY KEY REFERENCES chunks (id) ON DELETE CASCADE,
    int8 BLOB NOT NULL,
    scale REAL NOT NULL,
    error REAL NOT NULL,
    float32 BLOB NOT NULL
);

CREATE VIRTUAL TABLE words USING fts5 (
    heading, text, content='chunks', content_rowid='id', tokenize='porter unicode61'
);
CREATE TRIGGER words_of_new_chunk AFTER INSERT ON chunks BEGIN
    INSERT INTO words (rowid, heading, text) VALUES (new.id, new.heading, new.text);
END;
CREATE TRIGGER words_of_old_chunk AFTER DELETE ON chunks BEGIN
    INSERT INTO words (words, rowid, heading, text) VALUES ('delete', old.id, old.heading, old.text);
END;
"""


def create_file(path: Path, settings: dict[str, str]) -> None:
    """Make an empty collection at ``path``, where no file is. It is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with sqlite_errors(path):
        connection = sqlite3.connect(unfinished)
        try:
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; BEGIN; {_TABLES}"
            )
            connection.executemany("INSERT INTO settings VALUES (?, ?)", settings.items())
            connection.commit()
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
    unfinished.rename(path)


def open_file(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a collection.

    The connection may be used from several threads, by one at a time.

    Raises:
        NotFoundError: there is no such file.
        UnprocessableError: it is not a collection, or one of a newer SAGE.
        PermissionDeniedError: it may not be read.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} is not there; `sage kb list` shows which knowledge bases there are")
    with sqlite_errors(path):
        connection = _connect(path, read_only=read_only)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    address = path.resolve().as_uri()
    connection = sqlite3.connect(
        f"{address}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        timeout=_BUSY_SECONDS,
        check_same_thread=False,
        isolation_level=None,
    )
    try:
        connection.execute("PRAGMA schema_version")
        if not read_only:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.OperationalError:
        connection.close()
        wal = path.with_name(f"{path.name}-wal")
        if not read_only or (wal.exists() and wal.stat().st_size):
            raise
        # Readers of a WAL file share memory beside it, which a read-only folder does not allow. Nobody can write there
        # either, so the file is as it stays.
        connection = sqlite3.connect(f"{address}?immutable=1", uri=True, check_same_thread=False, isolation_level=None)
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if owner != APPLICATION_ID:
        raise UnprocessableError(
            f"{path} is a database of another program, not a knowledge base; choose another name", code="knowledge_base"
        )
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise UnprocessableError(
            f"{path} has format {version}, this SAGE reads {SCHEMA_VERSION}; "
            "use the SAGE that wrote it, or drop it and ingest again",
            code="knowledge_base",
        )
