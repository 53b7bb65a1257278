"""The HTTP client of the benchmarks: keep-alive connections that note when each piece of an answer arrives.

It speaks HTTP/1.1 on an asyncio protocol with httptools' C parser and delivers answers by callback, because load
generator and system under test share the machine: aiohttp's client takes several times the processor time.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast
from urllib.parse import urlsplit

import httptools

OK = 200
CONNECTION_LOST = "connection_lost"
NOT_HTTP = "not_http"
TIMEOUT = "timeout"


class HttpResponse:
    """One answer, complete or not. Times are seconds of the connection's clock.

    Attributes:
        sent_at: when the request was written.
        status: None until the headers are complete.
        pieces: the body as it arrived, one item for each read.
        arrivals: when each piece arrived.
        finished_at: when the body was complete or the connection failed; None before that.
        error: why the answer is not complete: ``connection_lost``, ``not_http`` or ``timeout``; empty where it is.
        keep_alive: whether the server keeps the connection open.
    """

    __slots__ = ("_headers", "arrivals", "error", "finished_at", "keep_alive", "pieces", "sent_at", "status")

    def __init__(self, sent_at: float) -> None:
        self.sent_at = sent_at
        self.status: int | None = None
        self.pieces: list[bytes] = []
        self.arrivals: list[float] = []
        self.finished_at: float | None = None
        self.error = ""
        self.keep_alive = False
        self._headers: list[bytes] = []  # names and values in turn

    @property
    def body(self) -> bytes:
        """What has arrived of the body."""
        return b"".join(self.pieces)

    @property
    def headers(self) -> dict[str, str]:
        """The headers; names in lower case."""
        texts = [text.decode("latin-1") for text in self._headers]
        return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}

    @property
    def seconds(self) -> float:
        """From writing the request to the last byte. ValueError while the answer is not finished."""
        if self.finished_at is None:
            raise ValueError("the answer is not finished")
        return self.finished_at - self.sent_at

    @property
    def first_byte_seconds(self) -> float:
        """From writing the request to the first byte of the body; to the end where the body is empty."""
        return self.arrivals[0] - self.sent_at if self.arrivals else self.seconds

    @property
    def gaps(self) -> list[float]:
        """Seconds between the arrivals of the body's pieces."""
        return [after - before for before, after in pairwise(self.arrivals)]


class ClientConnection(asyncio.Protocol):
    """Sends one request at a time over one connection.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: HttpResponse | None = None
        self._on_finished: Callable[[HttpResponse], None] | None = None

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, on_finished: Callable[[HttpResponse], None]) -> HttpResponse:
        """Write a request and return the answer, to be filled; ``on_finished`` is called once, when it is finished.

        Raises:
            ConnectionError: the connection is closed.
        """
        if self._transport is None:
            raise ConnectionError("the server closed the connection")
        self._response = response = HttpResponse(self._clock())
        self._on_finished = on_finished
        self._transport.write(request)
        return response

    async def request(self, request: bytes, timeout_seconds: float | None = None) -> HttpResponse:
        """Send a request and return its answer when it is finished, or at the time-out with what has arrived.

        The connection is closed at a time-out and on cancellation.

        Raises:
            ConnectionError: the connection is closed.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[HttpResponse] = loop.create_future()
        self.send(request, finished.set_result)
        timer = loop.call_later(timeout_seconds, self._fail, TIMEOUT) if timeout_seconds is not None else None
        try:
            return await finished
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Close at once, so that the server sees that nobody waits. ``on_finished`` is not called."""
        self._response = self._on_finished = None
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: str) -> None:
        response, on_finished = self._response, self._on_finished
        self.close()
        if response is not None and on_finished is not None:
            response.error = error
            response.finished_at = self._clock()
            on_finished(response)

    # asyncio calls what follows.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(CONNECTION_LOST)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(NOT_HTTP)

    # httptools calls what follows.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None:
            self._response._headers += (name, value)

    def on_headers_complete(self) -> None:
        if self._response is not None:
            self._response.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self._response is not None:
            self._response.arrivals.append(self._clock())
            self._response.pieces.append(body)

    def on_message_complete(self) -> None:
        response, on_finished = self._response, self._on_finished
        if response is None or on_finished is None:
            return
        self._response = self._on_finished = None
        response.finished_at = self._clock()
        response.keep_alive = self._parser.should_keep_alive()
        on_finished(response)


async def connect(url: str, clock: Callable[[], float] = time.perf_counter) -> ClientConnection:
    """Open a connection to the host and port of ``url``. OSError where the server cannot be reached."""
    parts = urlsplit(url)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: ClientConnection(clock), parts.hostname or "127.0.0.1", parts.port or 80
    )
    return connection


class ConnectionPool:
    """Connections to one server: one for each request in flight, the idle ones used again.

    Args:
        url: base URL.
        clock: monotonic seconds.
        idle_seconds: after this time an idle connection is not used again. Servers close theirs after five seconds or
            more, and a request that met that moment would be lost by no fault of the system under test.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.perf_counter, idle_seconds: float = 2.0) -> None:
        self.url = url
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._idle: deque[tuple[float, ClientConnection]] = deque()

    async def request(self, request: bytes, timeout_seconds: float) -> HttpResponse:
        """Send a request over an idle or a new connection and return its answer; see ``ClientConnection.request``.

        Raises:
            OSError: the server cannot be reached.
            TimeoutError: there was no connection within the time.
        """
        until = self._clock() + timeout_seconds
        connection = await self.take(timeout_seconds)
        response = None
        try:
            response = await connection.request(request, max(0.0, until - self._clock()))
            return response
        finally:
            self.give_back(connection, reusable=response is not None and response.keep_alive)

    async def take(self, timeout_seconds: float | None = None) -> ClientConnection:
        """Return an idle connection or a new one.

        Raises:
            OSError: the server cannot be reached.
            TimeoutError: there was no connection within the time.
        """
        idle = self._take_idle()
        if idle is not None:
            return idle
        return await asyncio.wait_for(connect(self.url, self._clock), timeout_seconds)

    def give_back(self, connection: ClientConnection, *, reusable: bool) -> None:
        """Take back a connection whose answer is finished."""
        if reusable and connection.usable:
            self._idle.append((self._clock(), connection))
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _take_idle(self) -> ClientConnection | None:
        oldest = self._clock() - self._idle_seconds
        while self._idle and self._idle[0][0] < oldest:
            self._idle.popleft()[1].close()
        while self._idle:
            connection = self._idle.pop()[1]
            if connection.usable:
                return connection
        return None


def render_post(url: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Render a POST request with a JSON body as bytes, to be sent any number of times."""
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def fetch(url: str, json: bytes | None = None, timeout_seconds: float = 5.0) -> bytes:
    """Get ``url``, or post ``json`` to it, and return the body. It blocks: for readiness and metrics, not for load.

    Raises:
        OSError: the server cannot be reached, does not answer in time, or answers with an error status.
    """
    request = urllib.request.Request(url, json, {"Content-Type": "application/json"} if json is not None else {})
    with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
        return bytes(response.read())
