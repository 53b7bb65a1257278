"""Answering with events that are told elsewhere, and kept: whoever loses the connection reads on in another."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from sage_client.error_body import error_event
from sage_common.errors import SageError
from sage_gateway.asgi import Headers
from sage_gateway.inference import EVENT_STREAM
from sage_platform.jetstream_access import reaching_jetstream


def told_stream(events: AsyncIterator[bytes], headers: Headers = []) -> StreamingResponse:  # noqa: B006 - only read
    """Return an answer of these events. Its client may go away at any time, which ends nothing but the answer."""

    async def told() -> AsyncIterator[bytes]:
        try:
            with reaching_jetstream():
                async for event in events:
                    yield event
        except SageError as error:
            yield error_event(error)

    named = [*EVENT_STREAM, *headers]
    return StreamingResponse(told(), headers={name.decode(): value.decode() for name, value in named})
