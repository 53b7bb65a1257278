"""A ``text/event-stream`` answer as pieces of text."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson

from sage_client.error_body import error_from_object
from sage_client.results import TextPiece
from sage_client.transport import StreamAnswer
from sage_common.errors import EngineFailedError
from sage_mesh.openai_answer import read_delta
from sage_mesh.sse import DONE, SseParser


async def text_pieces(answer: StreamAnswer) -> AsyncIterator[TextPiece]:
    """Yield the pieces that say something: text, a finish reason or usage.

    Raises:
        SageError: the error event of the server, or EngineFailedError where the stream ends without ``[DONE]``.
    """
    parser = SseParser()
    async for data in answer.pieces:
        for event in parser.feed(data):
            if event.data == DONE:
                return
            _raise_error(event.data)
            piece = read_delta(event.data)
            if piece.text or piece.finish_reason or piece.usage:
                yield TextPiece(piece.text, piece.finish_reason, piece.usage, answer.metadata)
    raise EngineFailedError(
        "the stream ended before the answer was complete; send the request again", code="stream_interrupted"
    )


def _raise_error(data: str) -> None:
    if '"error"' not in data:
        return
    try:
        error = orjson.loads(data).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        return  # read_delta says what is wrong with it
    if isinstance(error, dict):
        raise error_from_object(error)
