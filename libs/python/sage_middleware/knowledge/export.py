"""Every passage of a collection as a line of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import orjson

from sage_middleware.knowledge.collection import Collection

# Of a search, not of a passage.
_FOUND = ("score", "fused", "vector_rank", "word_rank", "word_score", "end_position", "approximate", "recall")


def export_lines(collection: Collection, *, vectors: bool) -> Iterator[bytes]:
    """Yield each passage as a line of JSON, by document and place."""
    for document in collection.documents():
        passages = collection.neighbours(document.id, 0, document.chunks)
        found = collection.vectors_of([one.chunk_id for one in passages]) if vectors else None
        for at, passage in enumerate(passages):
            value = {name: field for name, field in asdict(passage).items() if name not in _FOUND}
            if found is not None:
                value["vector"] = found[at]
            yield orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
