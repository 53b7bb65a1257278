"""Distinct embedding requests over keep-alive connections, each sent when the one before it is answered."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools
import orjson

from sage_benchmark.http_load import post

EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """One answer.

    Attributes:
        seconds: from writing the request to the last byte.
        body: empty where bodies were not to be kept.
    """

    number: int
    status: int
    seconds: float
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EmbeddingLoad:
    """What a run measured. The answers are in the order of the requests."""

    seconds: float
    answers: list[EmbeddingAnswer] = field(repr=False)


def bodies_of(texts: Sequence[str], model: str, per_request: int) -> list[bytes]:
    """Cut texts into requests that ask for base64, as OpenAI's client does."""
    return [
        orjson.dumps({"model": model, "input": list(texts[start : start + per_request]), "encoding_format": "base64"})
        for start in range(0, len(texts), per_request)
    ]


async def send_all(
    base: str,
    bodies: Sequence[bytes],
    *,
    concurrency: int,
    path: str = EMBEDDINGS,
    headers: Sequence[tuple[str, str]] = (),
    pause_seconds: float = 0.0,
    keep_bodies: bool = False,
    stop: asyncio.Event | None = None,
    time_limit_seconds: float = 1_800.0,
) -> EmbeddingLoad:
    """Send every body once.

    Args:
        pause_seconds: between an answer and the connection's next request.
        stop: when it is set, what has not been sent is not sent.

    Raises:
        RuntimeError: a request was refused; a figure without it would lie.
        ConnectionError: the server closed a connection.
    """
    waiting = deque(enumerate(bodies))
    answers: list[EmbeddingAnswer] = []
    parts = urlsplit(base)
    loop = asyncio.get_running_loop()
    connections: list[_Connection] = []

    async def connect() -> None:
        _, connection = await loop.create_connection(_Connection, parts.hostname or "", parts.port or 80)
        connections.append(connection)

    async def work(connection: _Connection) -> None:
        while waiting and not (stop is not None and stop.is_set()):
            number, body = waiting.popleft()
            status, seconds, found, data = await connection.ask(post(base + path, body, headers))
            if status != 200:
                raise RuntimeError(f"{base}{path} answered {status}: {data[:300]!r}")
            answers.append(EmbeddingAnswer(number, status, seconds, found, data if keep_bodies else b""))
            if pause_seconds:
                await asyncio.sleep(pause_seconds)

    try:
        # Before the clock starts: an application keeps its connections.
        for _ in range(min(concurrency, len(bodies))):
            await connect()
        began = time.perf_counter()
        await asyncio.wait_for(asyncio.gather(*map(work, connections)), time_limit_seconds)
        seconds = time.perf_counter() - began
    finally:
        for connection in connections:
            connection.close()
    return EmbeddingLoad(seconds, sorted(answers, key=lambda answer: answer.number))


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, float, dict[str, str], bytes]] | None = None
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, request: bytes) -> tuple[int, float, dict[str, str], bytes]:
        """Send a request and wait for its answer: status, seconds, headers, body."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._pieces = {}, []
        self._answer = asyncio.get_running_loop().create_future()
        self._sent_at = time.perf_counter()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        seconds = time.perf_counter() - self._sent_at
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), seconds, self._headers, b"".join(self._pieces)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))
