"""The vectors of a collection, read from SQLite by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sage_libs.hnsw_graph import Ints
from sage_libs.quantization import Floats, Int8s, Quantized

if TYPE_CHECKING:
    from sage_middleware.knowledge.collection import Collection

_IDS_AT_ONCE = 500
_BLOCK_ROWS = 4096


def stored_vectors(collection: Collection, chunk_ids: Ints) -> tuple[Ints, Floats]:
    """Return those of the chunks that are there, ascending, and their vectors, float32 (n, d), of length 1."""
    found = dict(_by_chunk(collection, "float32", np.unique(chunk_ids)))
    ids = np.array(sorted(found), dtype=np.int64)
    rows = b"".join(found[int(one)][0] for one in ids)
    return ids, np.frombuffer(rows, dtype=np.float32).reshape(len(ids), -1 if len(ids) else collection.dimension or 1)


def vectors_in_order(collection: Collection, chunk_ids: npt.ArrayLike) -> Floats:
    """Return the vectors of chunks, float32 (n, d), of length 1; zeros for a chunk that is not there."""
    asked = np.asarray(chunk_ids, dtype=np.int64)
    ids, rows = stored_vectors(collection, asked)
    vectors = np.zeros((len(asked), collection.dimension or 1), dtype=np.float32)
    is_there = np.isin(asked, ids)
    vectors[is_there] = rows[np.searchsorted(ids, asked[is_there])]
    return vectors


def stored_codes(collection: Collection, chunk_ids: Ints | None = None) -> tuple[Ints, Quantized]:
    """Return those of the chunks that are there, ascending, and their vectors in int8; None takes all chunks."""
    if chunk_ids is None:
        rows = collection.select("SELECT chunk_id, int8, scale, error FROM vectors ORDER BY chunk_id")
    else:
        found = dict(_by_chunk(collection, "int8, scale, error", chunk_ids))
        rows = [(one, *found[one]) for one in sorted(found)]
    values = np.frombuffer(b"".join(row[1] for row in rows), dtype=np.int8).reshape(-1, collection.dimension or 1)
    scales = np.array([row[2] for row in rows], dtype=np.float32)
    errors = np.array([row[3] for row in rows], dtype=np.float32)
    return np.array([row[0] for row in rows], dtype=np.int64), Quantized(values, scales, errors)


def code_blocks(collection: Collection) -> Iterator[tuple[Ints, Int8s]]:
    """Yield all vectors in int8, some thousands at a time, by chunk."""
    for ids, rows in _blocks(collection, "int8"):
        yield ids, np.frombuffer(rows, dtype=np.int8).reshape(len(ids), -1)


def vector_blocks(collection: Collection) -> Iterator[tuple[Ints, Floats]]:
    """Yield all vectors in float32, some thousands at a time, by chunk."""
    for ids, rows in _blocks(collection, "float32"):
        yield ids, np.frombuffer(rows, dtype=np.float32).reshape(len(ids), -1)


def _blocks(collection: Collection, column: str) -> Iterator[tuple[Ints, bytes]]:
    last = -1
    while rows := collection.select(
        f"SELECT chunk_id, {column} FROM vectors WHERE chunk_id > ? ORDER BY chunk_id LIMIT {_BLOCK_ROWS}", (last,)
    ):
        last = rows[-1][0]
        yield np.array([row[0] for row in rows], dtype=np.int64), b"".join(row[1] for row in rows)


def _by_chunk(collection: Collection, columns: str, chunk_ids: Ints) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    ids = [int(one) for one in chunk_ids]
    for start in range(0, len(ids), _IDS_AT_ONCE):
        part = ids[start : start + _IDS_AT_ONCE]
        for chunk_id, *fields in collection.select(
            f"SELECT chunk_id, {columns} FROM vectors WHERE chunk_id IN ({','.join('?' * len(part))})", part
        ):
            yield chunk_id, tuple(fields)
