"""The HTTP server of the engines that stand in for real ones: connections that are answered with ready bytes.

It speaks HTTP/1.1 on an asyncio protocol with httptools' C parser: what such an engine takes of the processor is
charged to the system under test.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"
ACCEPT_BACKLOG = 1024


@dataclass(slots=True)
class HttpRequest:
    """One request. ``target`` is the path with its query; ``raw_headers`` has names and values in turn, as sent."""

    method: bytes
    target: bytes
    raw_headers: list[bytes]
    body: bytes
    keep_alive: bool

    @property
    def headers(self) -> dict[str, str]:
        """The headers; names in lower case. Empty where the server does not read them."""
        texts = [text.decode("latin-1") for text in self.raw_headers]
        return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}


class ServerConnection(asyncio.Protocol):
    """Hands one request at a time to ``serve``, which answers with ``write`` and ``finish``.

    Args:
        connections: the open ones; the connection enters and leaves it.
        reads_headers: whether requests have their headers.

    Attributes:
        on_disconnect: set by ``serve`` for the request it is given; called when the client goes away before ``finish``.
    """

    def __init__(
        self,
        serve: Callable[[HttpRequest, ServerConnection], None],
        connections: set[ServerConnection],
        *,
        reads_headers: bool = True,
    ) -> None:
        self._serve = serve
        self._connections = connections
        if reads_headers:
            # The parser calls it only where it is; a call for each header would be a third of a static answer's cost.
            self.on_header = self._on_header
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._target = b""
        self._headers: list[bytes] = []
        self._body = b""
        self._waiting: deque[HttpRequest] = deque()
        self._current: HttpRequest | None = None
        self.on_disconnect: Callable[[], None] | None = None

    def write(self, data: bytes) -> None:
        """Write; nothing where the client has gone."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """End the answer to the current request; the next one on this connection is served."""
        self.on_disconnect = None
        current, self._current = self._current, None
        if current is not None and not current.keep_alive:
            self.close()
        if self._waiting:
            self._serve_next()

    def close(self) -> None:
        """Close when everything is written."""
        if self._transport is not None:
            self._transport.close()

    def close_after_answer(self) -> None:
        """Close as soon as no request is being served."""
        if self._current is None:
            self.close()
        else:
            self._current.keep_alive = False

    def drop(self) -> None:
        """Break the connection; ``on_disconnect`` is not called."""
        self.on_disconnect = None
        if self._transport is not None:
            self._transport.abort()

    def _serve_next(self) -> None:
        while self._current is None and self._waiting and self._transport is not None:
            self._current = self._waiting.popleft()
            self._serve(self._current, self)

    # asyncio calls what follows.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        self._waiting.clear()
        on_disconnect, self.on_disconnect = self.on_disconnect, None
        if on_disconnect is not None:
            on_disconnect()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
        # Not within the parser's callbacks: serving may close the connection.
        if self._current is None and self._waiting:
            self._serve_next()

    # httptools calls what follows.

    def on_url(self, url: bytes) -> None:
        self._target += url

    def _on_header(self, name: bytes, value: bytes) -> None:
        self._headers += (name, value)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        parser = self._parser
        self._waiting.append(
            HttpRequest(parser.get_method(), self._target, self._headers, self._body, parser.should_keep_alive())
        )
        self._target = self._body = b""
        self._headers = []


class EngineHttpServer:
    """Listens on one port.

    Args:
        serve: answers a request on its connection, at once or later.
        port: 0 takes a free one.
        reads_headers: whether requests have their headers.
    """

    def __init__(
        self,
        serve: Callable[[HttpRequest, ServerConnection], None],
        host: str,
        port: int,
        *,
        reads_headers: bool = True,
    ) -> None:
        self._serve = serve
        self._reads_headers = reads_headers
        self._host = host
        self._port = port
        self._connections: set[ServerConnection] = set()
        self._server: asyncio.Server | None = None
        self._reopening: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL without ``/v1``."""
        return f"http://{self._host}:{self._port}"

    async def open(self) -> None:
        """Listen. OSError where the port is taken."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: ServerConnection(self._serve, self._connections, reads_headers=self._reads_headers),
            self._host,
            self._port,
            backlog=ACCEPT_BACKLOG,
        )
        self._port = self._server.sockets[0].getsockname()[1]

    def refuse(self, seconds: float) -> None:
        """Refuse connections for this time, then listen on the same port again.

        Each connection that is open closes when its present answer is complete.
        """
        self._stop_listening()
        for connection in list(self._connections):
            connection.close_after_answer()
        if self._reopening is not None:
            self._reopening.cancel()
        self._reopening = asyncio.get_running_loop().create_task(self._reopen(seconds))

    def close(self) -> None:
        """Stop listening and break every connection."""
        if self._reopening is not None:
            self._reopening.cancel()
        self._stop_listening()
        for connection in list(self._connections):
            connection.drop()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.open()


def render_response(status: int, media: bytes, body: bytes) -> bytes:
    """Render a whole response."""
    phrase = HTTPStatus(status).phrase.encode()
    head = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, phrase, media, len(body))
    return head + body


def render_json(value: Any, status: int = 200) -> bytes:
    """Render a whole response with a JSON body; NumPy arrays are written as lists."""
    return render_response(status, b"application/json", orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def render_error(status: int, message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Render an OpenAI error object."""
    return render_json({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def render_event(data: bytes) -> bytes:
    """Render one server-sent event as one HTTP chunk."""
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)
