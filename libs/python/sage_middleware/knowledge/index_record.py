"""What a collection's SQLite file knows of the index file beside it: which one it is, and what has changed since.

The index file is named for its version and never changed; SQLite says which version counts, and keeps the vectors that
were added or removed since by number. Both are one transaction, so at any moment the index with what has changed is the
vectors as they are.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson

from sage_libs.hnsw_graph import HnswError, Ints

# Above it an exact scan takes more than some 25 ms and its int8 vectors 400 MB (384 numbers, docs/adr/0058).
DEFAULT_INDEX_ABOVE = 1_000_000
_SETTING = "vector_index"
# Name of the setting.
INDEX_ABOVE = "index_above"
# Ids of chunks are used again after the last has gone, so a change is a number of its own.
_BEGIN = """
CREATE TABLE index_changes (change INTEGER PRIMARY KEY AUTOINCREMENT, chunk_id INTEGER NOT NULL);
CREATE TRIGGER index_of_new_vector AFTER INSERT ON vectors BEGIN
    INSERT INTO index_changes (chunk_id) VALUES (new.chunk_id);
END;
CREATE TRIGGER index_of_old_vector AFTER DELETE ON vectors BEGIN
    INSERT INTO index_changes (chunk_id) VALUES (old.chunk_id);
END;
"""
_END = """
DROP TRIGGER IF EXISTS index_of_new_vector;
DROP TRIGGER IF EXISTS index_of_old_vector;
DROP TABLE IF EXISTS index_changes;
"""


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """The index file that counts.

    Attributes:
        version: 16 hexadecimal digits of the file's name.
        size: of the file, bytes.
        sha256: of the file, in hexadecimal.
        vectors: that are in it.
        expansion: candidates that a search keeps while it walks the graph.
        recall: recall@10 measured on stored vectors against an exact scan; None while it is not measured.
        samples: vectors that it was measured on.
        measured_through: number of the last change when it was measured.
    """

    version: str
    size: int
    sha256: str
    vectors: int
    expansion: int
    recall: float | None
    samples: int
    measured_through: int


def index_file(collection: Path, version: str) -> Path:
    """Return the index file of a version."""
    return collection.with_name(f"{collection.name}.{version}.usearch")


def checked_index_file(collection: Path, record: IndexRecord) -> Path:
    """Return the file of a record. Reads all of it: usearch would follow the numbers of a damaged one anywhere.

    Raises:
        HnswError: it is not there, or not as it was written.
    """
    path = index_file(collection, record.version)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise HnswError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if digest.hexdigest() != record.sha256:
        raise HnswError(f"{path.name} is not the file that was written")
    return path


def index_files(collection: Path) -> Iterator[Path]:
    """Yield the index files of a collection of any version, unfinished ones too."""
    pattern = re.compile(rf"\.?{re.escape(collection.name)}\.[0-9a-f]{{16}}\.usearch(\.unfinished)?")
    if collection.parent.is_dir():
        yield from (path for path in collection.parent.iterdir() if pattern.fullmatch(path.name))


def read_record(connection: sqlite3.Connection) -> IndexRecord | None:
    """Return the record; None where there is no index."""
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (_SETTING,)).fetchone()
    return IndexRecord(**orjson.loads(row[0])) if row else None


def write_record(connection: sqlite3.Connection, record: IndexRecord, *, through: int = 0) -> None:
    """Store the record, and forget changes up to number ``through``, which its file holds. In a transaction."""
    value = orjson.dumps(asdict(record)).decode()
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (_SETTING, value))
    connection.execute("DELETE FROM index_changes WHERE change <= ?", (through,))


def index_above(connection: sqlite3.Connection) -> int:
    """Return above how many vectors there is to be an index; 0 means never."""
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (INDEX_ABOVE,)).fetchone()
    return int(row[0]) if row else DEFAULT_INDEX_ABOVE


def set_index_above(connection: sqlite3.Connection, count: int) -> None:
    """Store above how many vectors there is to be an index."""
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (INDEX_ABOVE, str(count)))


def keeps_changes(connection: sqlite3.Connection) -> bool:
    """Whether the file notes which vectors come and go."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'index_changes'").fetchone() is not None


def begin_changes(connection: sqlite3.Connection) -> None:
    """Note from now on which vectors come and go, whoever stores them. In a transaction."""
    if not keeps_changes(connection):
        _execute_all(connection, _BEGIN)


def end_changes(connection: sqlite3.Connection) -> None:
    """Forget the index, and note no changes any more. In a transaction."""
    _execute_all(connection, _END)
    connection.execute("DELETE FROM settings WHERE name = ?", (_SETTING,))


def changes(connection: sqlite3.Connection) -> tuple[Ints, int]:
    """Return the chunks whose vectors came or went since the index was written, ascending, and the last number."""
    if not keeps_changes(connection):
        return np.empty(0, dtype=np.int64), 0
    rows = connection.execute(
        "SELECT chunk_id, max(change) FROM index_changes GROUP BY chunk_id ORDER BY chunk_id"
    ).fetchall()
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    return ids, max((row[1] for row in rows), default=0)


def change_count(connection: sqlite3.Connection) -> int:
    """Return how many changes are noted."""
    if not keeps_changes(connection):
        return 0
    return int(connection.execute("SELECT count(DISTINCT chunk_id) FROM index_changes").fetchone()[0])


def _execute_all(connection: sqlite3.Connection, script: str) -> None:
    # ``executescript`` would commit first.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
