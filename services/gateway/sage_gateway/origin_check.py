"""What a page of another site may not send to a gateway without API keys: requests that a browser asks nobody about.

A browser sends a POST of another site without asking first (a "simple request" of the Fetch standard) where its body is
a form, plain text or of no type. JSON it asks about first, and this gateway answers only origins that it knows.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sage_common.errors import PermissionDeniedError
from sage_gateway.admission import is_json_type
from sage_gateway.asgi import App, Receive, Scope, Send
from sage_gateway.dialects.error_shape import refuse_unread

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_SHOWN_ORIGIN = 200


class OriginCheck:
    """Refuses what changes something, comes from a page of another origin and has no JSON type."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            headers = {name: value for name, value in scope["headers"] if name in (b"origin", b"host", b"content-type")}
            origin = headers.get(b"origin")
            if origin is not None and not _is_own(origin, headers.get(b"host", b"")):
                content_type = headers.get(b"content-type", b"").decode("latin-1")
                if not is_json_type(content_type):
                    await _refuse(origin.decode("latin-1"), scope, send)
                    return
        await self._app(scope, receive, send)


def _is_own(origin: bytes, host: bytes) -> bool:
    return urlsplit(origin.decode("latin-1")).netloc.lower() == host.decode("latin-1").lower()


async def _refuse(origin: str, scope: Scope, send: Send) -> None:
    error = PermissionDeniedError(
        f"a page of {origin[:MAX_SHOWN_ORIGIN]} sent this without a JSON type, as any page can make a browser do; "
        "send it with 'Content-Type: application/json', or set api_keys",
        code="cross_origin",
    )
    await refuse_unread(scope, send, error)
