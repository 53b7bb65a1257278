"""The port of a simulated engine, which can refuse connections for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sage_benchmark.simulated.http_connection import HttpConnection


class EngineListener:
    """Listens on one port; ``refuse`` closes it and opens the same one again later.

    Args:
        connect: makes the protocol of a new connection.
        connections: those that are open.
    """

    def __init__(
        self, host: str, port: int, connect: Callable[[], HttpConnection], connections: set[HttpConnection]
    ) -> None:
        self._host = host
        self._port = port
        self._connect = connect
        self._connections = connections
        self._server: asyncio.Server | None = None
        self._reopening: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL without ``/v1``."""
        return f"http://{self._host}:{self._port}"

    async def open(self) -> None:
        """Listen. OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, self._host, self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    def refuse(self, seconds: float) -> None:
        """Refuse connections for so long, and close those there are, each when its answer is complete."""
        self._shut()
        for connection in list(self._connections):
            connection.retire()
        if self._reopening is not None:
            self._reopening.cancel()
        self._reopening = asyncio.get_running_loop().create_task(self._reopen(seconds))

    def close(self) -> None:
        """Stop listening and break every connection."""
        if self._reopening is not None:
            self._reopening.cancel()
        self._shut()
        for connection in list(self._connections):
            connection.drop()

    def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.open()
