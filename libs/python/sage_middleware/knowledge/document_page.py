"""The documents of a collection a page at a time."""

from __future__ import annotations

import orjson

from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.records import FileState, StoredDocument


def document_page(collection: Collection, after: int, most: int) -> list[StoredDocument]:
    """Return at most ``most`` documents whose ids are greater than ``after``, by id."""
    rows = collection.select(
        "SELECT d.id, d.folder, d.path, d.size, d.mtime_ns, d.sha256, d.title, d.metadata, "
        "(SELECT count(*) FROM chunks c WHERE c.document_id = d.id) "
        "FROM documents d WHERE d.id > ? ORDER BY d.id LIMIT ?",
        (after, most),
    )
    return [StoredDocument(row[0], FileState(*row[1:6]), row[6], row[8], orjson.loads(row[7])) for row in rows]
