"""Cross-origin requests (WHATWG Fetch, "HTTP-CORS protocol") from the pages of named origins."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sage_client import headers as names
from sage_gateway.asgi import App, Headers, Message, Receive, Scope, Send

_METHODS: Final = b"GET, POST, PUT, DELETE"
_MAX_AGE_SECONDS: Final = b"600"
_EXPOSED: Final = ", ".join(
    (names.REQUEST_ID, "request-id", names.ENGINE, names.QUEUE_MS, names.ATTEMPTS, "retry-after")
).encode()


class Cors:
    """Lets pages of these origins read the answers of ``app``, and answers their preflights.

    A page of any other origin gets the answer that it would get without this; its browser keeps it from the page.

    Args:
        origins: as browsers send them, such as ``https://chat.example.com``; no pattern, and no ``*``.
    """

    def __init__(self, app: App, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _header(scope, b"origin") if scope["type"] == "http" else None
        if origin is None or origin not in self._origins:
            await self._app(scope, receive, send)
            return
        allowed: Headers = [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        ]
        asked_method = _header(scope, b"access-control-request-method")
        if scope["method"] == "OPTIONS" and asked_method is not None:
            await _preflight(scope, allowed, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *allowed]
            await send(message)

        await self._app(scope, receive, sending)


async def _preflight(scope: Scope, allowed: Headers, send: Send) -> None:
    headers: Headers = [
        *allowed,
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", _MAX_AGE_SECONDS),
        (b"content-length", b"0"),
    ]
    asked = _header(scope, b"access-control-request-headers")
    if asked is not None:
        headers.append((b"access-control-allow-headers", asked))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _header(scope: Scope, name: bytes) -> bytes | None:
    value: bytes | None = next((value for key, value in scope["headers"] if key == name), None)
    return value
