"""Whom the studio answers: hosts that are its own, and pages that are its own.

A page of any site can make a browser on this machine open a connection to the studio. What it cannot do is leave out
its ``Origin``, or name another ``Host`` than the one that it was looked up by.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from sage_common.allowed_hosts import AllowedHosts

MAX_SHOWN = 200
REFUSED_WEBSOCKET = 1008
# Nothing that the studio shows may be put into another page, and it asks no other server for anything.
HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
]


class Guard:
    """Passes on what is for an allowed host and from no page of another origin; refuses the rest with 403."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"host", b"origin")}
        refusal = self._refusal(headers.get(b"host", ""), headers.get(b"origin"))
        if refusal is None:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "http":
            await PlainTextResponse(refusal, 403)(scope, receive, send)
        else:
            await WebSocketClose(REFUSED_WEBSOCKET, "refused")(scope, receive, send)

    def _refusal(self, host: str, origin: str | None) -> str | None:
        if not self._hosts.allow(host):
            return (
                f"host {host[:MAX_SHOWN]!r} is not one that this studio answers for; if the name is yours, add it to "
                "SAGE_STUDIO_ALLOWED_HOSTS, or ask for an address or localhost"
            )
        if origin is not None and _host_of(origin) != host.lower():
            return f"requests from a page of {origin[:MAX_SHOWN]} are not taken"
        return None


def _host_of(origin: str) -> str | None:
    """Return the host and port of an origin, None where it is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _with_headers(send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sending
