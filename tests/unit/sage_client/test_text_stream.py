from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sage_client.headers import ResponseMetadata
from sage_client.results import TextPiece
from sage_client.text_stream import text_pieces
from sage_client.transport import StreamAnswer
from sage_common.errors import ContendedError, EngineFailedError
from sage_mesh.reply import TokenUsage

METADATA = ResponseMetadata("r", "e", 1.0, 1)


async def read(*pieces: bytes) -> list[TextPiece]:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [piece async for piece in text_pieces(StreamAnswer(source(), METADATA))]


async def test_pieces_are_read_wherever_the_stream_is_cut() -> None:
    whole = (
        'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
        'data: {"choices":[{"delta":{"content":"caf\u00e9 \\"error\\""}}]}\n\n'
        'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
        'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
        "data: [DONE]\n\n"
    ).encode()
    expected = [
        TextPiece('caf\u00e9 "error"', "", None, METADATA),
        TextPiece("", "stop", None, METADATA),
        TextPiece("", "", TokenUsage(1, 2), METADATA),
    ]
    assert await read(whole) == expected
    assert await read(*(whole[i : i + 1] for i in range(len(whole)))) == expected


async def test_an_error_event_raises_the_typed_error() -> None:
    with pytest.raises(ContendedError, match="busy"):
        await read(b'data: {"error":{"message":"busy","status":429,"code":"overloaded"}}\n\ndata: [DONE]\n\n')


async def test_a_foreign_servers_error_event_is_an_engine_failure() -> None:
    with pytest.raises(EngineFailedError, match="out of memory"):
        await read(b'data: {"error":{"message":"out of memory","code":500}}\n\n')
    with pytest.raises(EngineFailedError, match="odd"):
        await read(b'data: {"error":"odd"}\n\n')


@pytest.mark.parametrize("stream", [b"", b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', b"data: [DO"])
async def test_a_stream_that_ends_early_is_an_error(stream: bytes) -> None:
    with pytest.raises(EngineFailedError, match="ended before the answer was complete"):
        await read(stream)
