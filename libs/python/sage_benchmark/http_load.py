"""A closed-loop HTTP load generator that costs little: a raw asyncio protocol over keep-alive connections.

Closed loop, because it measures what a hop adds and what it can carry; load against a latency target is open loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request's times in seconds, from the moment it was written.

    Attributes:
        first_byte: until the first byte of the body.
        complete: until the last byte of the body.
        gaps: between the arrivals of body bytes.
    """

    status: int
    first_byte: float
    complete: float
    gaps: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """What a run measured.

    Attributes:
        seconds: duration of the run.
    """

    concurrency: int
    seconds: float
    exchanges: list[Exchange] = field(repr=False)

    @property
    def requests_per_second(self) -> float:
        """Completed requests a second."""
        return len(self.exchanges) / self.seconds

    @property
    def failures(self) -> int:
        """Answers other than 200."""
        return sum(1 for exchange in self.exchanges if exchange.status != 200)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of ``values`` lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def post(url: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Render a POST request once, to be sent many times."""
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def run_load(
    url: str, request: bytes, *, concurrency: int, requests: int, time_limit_seconds: float = 60.0
) -> Load:
    """Send ``request`` ``requests`` times over ``concurrency`` connections.

    Raises:
        TimeoutError: not all were answered within ``time_limit_seconds``.
        ConnectionError: the server closed a connection.
    """
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    shares = [requests // concurrency + (index < requests % concurrency) for index in range(concurrency)]
    connections = []
    for share in shares:
        _, connection = await loop.create_connection(
            lambda share=share: _Connection(request, share),  # type: ignore[misc]
            parts.hostname or "",
            parts.port or 80,
        )
        connections.append(connection)
    began = time.perf_counter()
    for connection in connections:
        connection.send()
    try:
        await asyncio.wait_for(asyncio.gather(*(c.done for c in connections)), time_limit_seconds)
        seconds = time.perf_counter() - began
    finally:
        for connection in connections:
            connection.close()
    return Load(concurrency, seconds, [exchange for c in connections for exchange in c.exchanges])


class _Connection(asyncio.Protocol):
    """Sends the same request again and again over one connection."""

    def __init__(self, request: bytes, times: int) -> None:
        self._request = request
        self._left = times
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0
        self._arrivals: list[float] = []
        self.exchanges: list[Exchange] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is no subclass

    def send(self) -> None:
        if self._left == 0:
            self.done.set_result(None)
            return
        self._left -= 1
        self._arrivals = []
        self._parser = httptools.HttpResponseParser(self)
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if body:
            self._arrivals.append(time.perf_counter())

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        arrivals = self._arrivals or [now]
        self.exchanges.append(
            Exchange(
                status=self._parser.get_status_code(),
                first_byte=arrivals[0] - self._sent_at,
                complete=now - self._sent_at,
                gaps=tuple(b - a for a, b in pairwise(arrivals)),
            )
        )
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))
