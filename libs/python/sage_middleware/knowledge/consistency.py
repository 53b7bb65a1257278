"""Whether the tables of a collection agree with each other."""

from __future__ import annotations

from sage_common.errors import SageError
from sage_middleware.knowledge.collection import Collection

_STRAYS = (
    ("chunks without vectors", "chunks a LEFT JOIN vectors b ON b.chunk_id = a.id WHERE b.chunk_id"),
    ("vectors without chunks", "vectors a LEFT JOIN chunks b ON b.id = a.chunk_id WHERE b.id"),
    ("chunks without documents", "chunks a LEFT JOIN documents b ON b.id = a.document_id WHERE b.id"),
    ("documents without chunks", "documents a LEFT JOIN chunks b ON b.document_id = a.id WHERE b.id"),
)


def problems_of(collection: Collection) -> list[str]:
    """Return where the tables do not agree; a sound collection has no such place. Reads everything.

    Args:
        collection: open for writing, without which FTS5 does not compare its index with the text.
    """
    found = [str(row[0]) for row in collection.select("PRAGMA integrity_check") if row[0] != "ok"]
    for what, tables in _STRAYS:
        ((count,),) = collection.select(f"SELECT count(*) FROM {tables} IS NULL")
        if count:
            found.append(f"{count} {what}")
    try:
        collection.select("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    except SageError as error:
        found.append(f"the index of words does not agree with the chunks: {error}")
    return found
