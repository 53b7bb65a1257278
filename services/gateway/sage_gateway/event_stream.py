"""An answer of the management API as a stream of events, or as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TypeVar

import orjson
from starlette.responses import Response, StreamingResponse

from sage_client.error_body import error_event
from sage_common.errors import SageError
from sage_gateway.keep_alive_comments import with_comments

T = TypeVar("T")
# What is followed may change nothing for hours, and a proxy on the way cut a connection that is silent for a minute.
COMMENT_SECONDS = 15.0
DONE = b"data: [DONE]\n\n"


async def event_stream(values: AsyncIterator[T], event_of: Callable[[T], bytes]) -> Response:
    """Answer with a stream of events. An error before the first value has a status of its own."""
    first = await anext(values, None)

    async def events() -> AsyncIterator[bytes]:
        try:
            async with aclosing(values) as going_on:  # type: ignore[type-var]
                if first is not None:
                    yield event_of(first)
                async for value in going_on:
                    yield event_of(value)
        except SageError as error:
            yield error_event(error)
        yield DONE

    return StreamingResponse(
        with_comments(events(), COMMENT_SECONDS),
        media_type="text/event-stream",
        headers={"cache-control": "no-cache"},
    )


def json_answer(value: object, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(value), status, media_type="application/json")
