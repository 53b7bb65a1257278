"""One HTTP/1.1 connection of the simulated engine: parsing in, bytes out, requests in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools


@dataclass(slots=True)
class HttpRequest:
    """One request. Header names are lower case."""

    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True


class HttpConnection(asyncio.Protocol):
    """Hands one request at a time to ``serve``, which answers with ``write`` and ``finish``.

    Attributes:
        on_gone: set by whoever serves the present request; called when its client goes away.
    """

    def __init__(self, serve: Callable[[HttpRequest, HttpConnection], None], connections: set[HttpConnection]) -> None:
        self._serve = serve
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._incoming = HttpRequest()
        self._body: list[bytes] = []
        self._queued: deque[HttpRequest] = deque()
        self._present: HttpRequest | None = None
        self.on_gone: Callable[[], None] | None = None

    def retire(self) -> None:
        """Close as soon as no request is being served."""
        if self._present is None:
            self.close()
        else:
            self._present.keep_alive = False

    def write(self, data: bytes) -> None:
        """Write; nothing where the client has gone."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """The present request has been answered."""
        self.on_gone = None
        present, self._present = self._present, None
        if present is not None and not present.keep_alive:
            self.close()
        self._next()

    def close(self) -> None:
        """Close when everything is written."""
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Break the connection; ``on_gone`` is not called."""
        self.on_gone = None
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        while self._present is None and self._queued and self._transport is not None:
            self._present = self._queued.popleft()
            self._serve(self._present, self)

    # asyncio calls what follows.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        self._queued.clear()
        gone, self.on_gone = self.on_gone, None
        if gone is not None:
            gone()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
        # Not within the parser's callbacks: serving may close the connection.
        if self._present is None:
            self._next()

    # httptools calls what follows.

    def on_message_begin(self) -> None:
        self._incoming = HttpRequest()
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._incoming.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._incoming.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = self._incoming
        request.method = self._parser.get_method().decode("latin-1")
        request.body = b"".join(self._body)
        request.keep_alive = self._parser.should_keep_alive()
        self._queued.append(request)
