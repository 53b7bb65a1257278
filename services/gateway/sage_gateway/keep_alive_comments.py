"""Comments in a stream while its engine is silent, so that no proxy on the way takes the connection for dead."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

import orjson

# A comment of an event stream, which clients leave out; whole, so that it fits between any two events.
COMMENT: Final = b": keep-alive\n\n"
_STREAM: Final = re.compile(rb'"stream"\s*:\s*true')


def wants_stream(body: bytes) -> bool:
    """Return whether a request's body asks for a stream. One that is no JSON does not."""
    if not _STREAM.search(body):
        return False
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and value.get("stream") is True


async def with_comments(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Yield the pieces of a stream, and ``COMMENT`` whenever none has come for ``seconds``. Raises what they raise."""
    while True:
        piece = asyncio.ensure_future(anext(pieces, b""))
        try:
            while not (await asyncio.wait({piece}, timeout=seconds))[0]:
                yield COMMENT
        finally:
            if not piece.done():
                piece.cancel()
        if not piece.result():
            return
        yield piece.result()
