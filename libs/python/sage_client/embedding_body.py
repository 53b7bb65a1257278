"""Vectors ↔ OpenAI's embeddings JSON. Vectors travel inside the mesh as little-endian float32 bytes.

Numbers are written in the shortest form that reads back as the same float32, so ``float`` and ``base64`` are equal.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from sage_common.errors import EngineFailedError
from sage_mesh.openai_answer import read_usage, usage_object
from sage_mesh.reply import ReplyHead, TokenUsage

Vectors = npt.NDArray[np.float32]

# Vectors are rendered in slices of about this many values, with a turn of the event loop between two of them, so that
# a large answer (2,048 vectors take 40 ms) does not hold up the others. A thread would not help: orjson keeps the
# interpreter's lock, and whoever waits for it waits for the whole switch interval.
_FLOATS_IN_SLICE = 8_192
_BASE64_VALUES_IN_SLICE = 65_536


async def render_vectors(data: bytes, head: ReplyHead, usage: TokenUsage, *, as_base64: bool) -> bytes:
    """Render vectors as the body of ``/v1/embeddings``.

    Args:
        data: ``head.vector_count * head.vector_dimensions`` little-endian float32 values.

    Raises:
        EngineFailedError: the data are not of that size.
    """
    vectors = read_vectors(data, head.vector_count, head.vector_dimensions)
    render = _base64_rows if as_base64 else _float_rows
    in_slice = max(1, (_BASE64_VALUES_IN_SLICE if as_base64 else _FLOATS_IN_SLICE) // max(1, head.vector_dimensions))
    parts = [b'{"object":"list","data":[']
    for start in range(0, len(vectors), in_slice):
        if start:
            parts.append(b",")
            await asyncio.sleep(0)
        parts.append(render(vectors[start : start + in_slice], start))
    used = usage_object(TokenUsage(usage.prompt_tokens), generates=False)
    parts.append(b'],"model":%b,"usage":%b}' % (orjson.dumps(head.model), orjson.dumps(used)))
    return b"".join(parts)


def read_vectors(data: bytes, count: int, dimensions: int) -> Vectors:
    """Return the vectors in ``data``, shape (count, dimensions). Raises EngineFailedError when they are not there."""
    if len(data) != 4 * count * dimensions:
        raise EngineFailedError(
            f"the engine announced {count} vectors of {dimensions} floats and sent {len(data)} bytes"
        )
    return np.frombuffer(data, dtype="<f4").reshape(count, dimensions)


def read_embedding_body(body: bytes) -> tuple[Vectors, str, TokenUsage]:
    """Read the body of ``/v1/embeddings``: vectors of shape (n, d) in the order of the inputs, model, usage.

    Raises:
        EngineFailedError: the body is of another form.
    """
    try:
        value = orjson.loads(body)
        rows: list[dict[str, Any]] = sorted(value["data"], key=lambda row: int(row["index"]))
        vectors = np.array([_read_row(row["embedding"]) for row in rows], dtype=np.float32)
        model = str(value.get("model", ""))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise EngineFailedError(
            f"the embeddings answer cannot be read ({type(error).__name__}: {error}): {body[:80]!r}"
        ) from None
    shaped = vectors.reshape(len(rows), -1) if rows else vectors.reshape(0, 0)
    return shaped, model, read_usage(value.get("usage")) or TokenUsage()


def _read_row(row: str | list[float]) -> Vectors:
    if isinstance(row, str):
        return np.frombuffer(base64.b64decode(row, validate=True), dtype="<f4")
    return np.array(row, dtype=np.float32)


def _float_rows(vectors: Vectors, first: int) -> bytes:
    return _rows(first, vectors, lambda row: orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY))


def _base64_rows(vectors: Vectors, first: int) -> bytes:
    return _rows(first, vectors, lambda row: b'"%b"' % base64.b64encode(row.data))


def _rows(first: int, vectors: Vectors, render: Callable[[Vectors], bytes]) -> bytes:
    return b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, render(row))
        for index, row in enumerate(vectors, first)
    )
