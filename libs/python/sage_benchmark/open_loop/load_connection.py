"""One keep-alive connection of the load generator, and the pool of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

from sage_benchmark.open_loop.answer_reader import AnswerReader


@dataclass(slots=True)
class HttpAnswer:
    """The answer to one request. ``broken`` says how the connection failed, if it did."""

    reader: AnswerReader
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    broken: str = ""
    reusable: bool = False


class LoadConnection(asyncio.Protocol):
    """Sends one request at a time. ``clock`` gives the times of what comes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: HttpAnswer | None = None
        self._done: asyncio.Future[None] | None = None

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, reader: AnswerReader) -> HttpAnswer:
        """Send a request and wait for the whole answer. Cancelling it closes the connection."""
        answer = HttpAnswer(reader)
        if self._transport is None:
            answer.broken = "connection_lost"
            return answer
        self._answer = answer
        self._done = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        try:
            await self._done
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._answer = self._done = None
        return answer

    def close(self) -> None:
        """Close at once: a server must see that nobody waits."""
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, broken: str = "") -> None:
        if self._answer is not None and self._done is not None and not self._done.done():
            self._answer.broken = broken
            self._done.set_result(None)

    # asyncio calls what follows.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish("connection_lost")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish("not_http")
            self.close()

    # httptools calls what follows.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None:
            self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._answer is not None:
            self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self._answer is not None:
            self._answer.reader.take(body, self._clock())

    def on_message_complete(self) -> None:
        if self._answer is not None:
            self._answer.reader.end()
            self._answer.reusable = self._parser.should_keep_alive()
            self._finish()


class ConnectionPool:
    """Connections to one server: as many as there are requests in flight, the idle ones used again.

    Args:
        url: base URL.
        idle_seconds: after so long an idle connection is not used again. Servers close theirs after five seconds or
            more, and a request that met that moment would be lost by no fault of the system under test.
    """

    def __init__(self, url: str, clock: Callable[[], float], idle_seconds: float = 2.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._idle: deque[tuple[float, LoadConnection]] = deque()

    async def take(self) -> LoadConnection:
        """Return an idle connection or a new one. OSError where the server cannot be reached."""
        oldest = self._clock() - self._idle_seconds
        while self._idle and self._idle[0][0] < oldest:
            self._idle.popleft()[1].close()
        while self._idle:
            connection = self._idle.pop()[1]
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: LoadConnection(self._clock), self._host, self._port)
        return connection

    def give_back(self, connection: LoadConnection, *, reusable: bool) -> None:
        """An exchange is over."""
        if reusable and connection.usable:
            self._idle.append((self._clock(), connection))
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()
