"""The few ASGI shapes that the gateway uses without Starlette, and replies in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from sage_client.error_body import error_body, retry_after_of, status_of
from sage_common.errors import InvalidRequestError, SageError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
# What nginx logs for a client that closed its connection; for metrics, since no client reads it.
CLIENT_GONE = 499


class ClientGoneError(Exception):
    """The connection was closed under the answer."""


def or_client_gone(send: Send) -> Send:
    """Return ``send``, raising ClientGoneError for the transport's errors about a closed connection."""

    async def sending(message: Message) -> None:
        try:
            await send(message)
        except (RuntimeError, OSError) as error:
            raise ClientGoneError(str(error)) from error

    return sending


async def send_whole(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a reply with its length."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


def retry_headers(error: SageError) -> Headers:
    """Return the header that says when to try again, or none where it has no place."""
    seconds = retry_after_of(error)
    return [] if seconds is None else [(b"retry-after", b"%d" % seconds)]


async def send_error(send: Send, error: SageError, headers: Sequence[tuple[bytes, bytes]] = ()) -> int:
    """Send OpenAI's error object, or the engine's own; return the status sent."""
    status = status_of(error)
    await send_whole(send, status, [JSON, *headers, *retry_headers(error)], error_body(error))
    return status


async def send_method_not_allowed(
    send: Send, method: str, allowed: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> int:
    """Refuse a method in OpenAI's error shape; return the status sent."""
    error = InvalidRequestError(f"method {method} is not allowed here; use {allowed}", code="method_not_allowed")
    await send_whole(send, 405, [JSON, *headers, (b"allow", allowed.encode())], error_body(error))
    return 405
