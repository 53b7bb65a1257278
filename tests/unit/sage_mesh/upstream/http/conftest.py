"""A server that a test writes byte by byte, and clients of it. Every test runs on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
import uvloop

from sage_mesh.upstream.http.client import HttpClient

Script = Callable[["Peer"], Awaitable[None]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Services run on uvloop, which differs from asyncio in what it tells a protocol, and when."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Peer:
    """One connection as the server has it.

    Attributes:
        number: how many came before it.
        reader, writer: its streams.
    """

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Read a request; return its head and its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
        return head, await self.reader.readexactly(int(length.partition(b": ")[2]))

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each on its own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


class RawServer:
    """Runs a script for each connection.

    Attributes:
        connections: how many there were.
        heads: of the requests that scripts have read with ``answer_all``.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.heads: list[bytes] = []
        self.failure: BaseException | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, **options: object) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **options)  # type: ignore[arg-type]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.failure is not None:
            raise self.failure

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(self.connections, reader, writer)
        self.connections += 1
        try:
            await self.script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except BaseException as failure:
            self.failure = failure
        finally:
            writer.close()
            self._tasks.discard(task)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[RawServer]]]:
    """Starts servers that run a script, and stops them."""
    servers: list[RawServer] = []

    async def start(script: Script, **options: object) -> RawServer:
        server = RawServer(script)
        await server.start(**options)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., HttpClient]]:
    """Makes clients, and closes them."""
    clients: list[HttpClient] = []

    def make(
        url: str,
        *,
        limit: int = 8,
        connect_seconds: float = 10.0,
        silence_seconds: float = 30.0,
        kept_seconds: float = 30.0,
        **headers: str,
    ) -> HttpClient:
        client = HttpClient(
            url,
            headers,
            limit=limit,
            connect_seconds=connect_seconds,
            silence_seconds=silence_seconds,
            kept_seconds=kept_seconds,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
