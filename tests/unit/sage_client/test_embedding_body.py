from __future__ import annotations

import asyncio

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sage_client.embedding_body import read_embedding_body, read_vectors, render_vectors
from sage_common.errors import EngineFailedError
from sage_mesh.reply import Media, ReplyHead, TokenUsage

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def head(count: int, dimensions: int, model: str = "m") -> ReplyHead:
    return ReplyHead(Media.VECTORS_FLOAT, "e", 0.0, 1, model, count, dimensions)


shapes = arrays.array_shapes(min_dims=2, max_dims=2, max_side=8)


@given(arrays.arrays(np.float32, shapes, elements=finite), st.booleans())
def test_vectors_come_back_bit_by_bit(vectors: np.ndarray, as_base64: bool) -> None:
    count, dimensions = vectors.shape
    body = asyncio.run(
        render_vectors(vectors.tobytes(), head(count, dimensions, 'q"\u00e9'), TokenUsage(5), as_base64=as_base64)
    )
    back, model, usage = read_embedding_body(body)
    np.testing.assert_array_equal(back, vectors)
    assert (model, usage.prompt_tokens) == ('q"\u00e9', 5)


async def test_the_body_is_openais() -> None:
    data = np.array([[1.0, -0.5], [0.25, 3.0]], dtype="<f4").tobytes()
    assert orjson.loads(await render_vectors(data, head(2, 2), TokenUsage(7), as_base64=False)) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0, -0.5]},
            {"object": "embedding", "index": 1, "embedding": [0.25, 3.0]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    encoded = orjson.loads(await render_vectors(data, head(2, 2), TokenUsage(7), as_base64=True))
    assert encoded["data"][0]["embedding"] == "AACAPwAAAL8="


async def test_other_work_has_its_turn_while_a_large_answer_is_rendered() -> None:
    data = np.ones((512, 384), dtype="<f4").tobytes()
    rendering = asyncio.create_task(render_vectors(data, head(512, 384), TokenUsage(1), as_base64=False))
    turns = 0
    while not rendering.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 512 * 384 // 8192
    assert len(read_embedding_body(await rendering)[0]) == 512


def test_vectors_that_are_not_there_are_the_engines_failure() -> None:
    with pytest.raises(EngineFailedError, match=r"announced 2 vectors of 3 floats and sent 20 bytes"):
        read_vectors(b"\0" * 20, 2, 3)


def test_rows_are_put_in_the_order_of_their_inputs() -> None:
    body = b'{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}],"model":"m"}'
    assert read_embedding_body(body)[0].tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data":[{"index":0}]}',
        b'{"data":[{"index":0,"embedding":"!!"}]}',
        b'{"data":[{"index":0,"embedding":"AAA="}]}',
        b'{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}',
        b'{"data":[{"index":0,"embedding":[null,"x"]}]}',
        b'{"data":7}',
    ],
)
def test_an_answer_of_another_form_is_the_engines_failure(body: bytes) -> None:
    with pytest.raises(EngineFailedError, match="cannot be read"):
        read_embedding_body(body)
