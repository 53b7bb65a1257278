"""Answers of unknown length to HTTP/1.0: the end of the connection ends them (RFC 9112 §6.3), no chunks."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sage_gateway.asgi import Message


def end_with_connection(cycle: RequestResponseCycle) -> None:
    """Have a cycle send an answer without a length as it is, and close the connection after it."""
    send = cycle.send
    unbounded = False

    async def sending(message: Message) -> None:
        nonlocal unbounded
        if message["type"] == "http.response.start":
            unbounded = all(name.lower() != b"content-length" for name, _ in message["headers"])
            if unbounded:
                cycle.chunked_encoding = False
                cycle.keep_alive = False
        elif unbounded:
            # uvicorn counts an answer's bytes down from its length.
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)  # type: ignore[arg-type]

    cycle.send = sending  # type: ignore[method-assign,assignment]
