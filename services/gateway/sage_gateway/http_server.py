"""uvicorn inside the service's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import itertools
import math
import socket
from collections.abc import Iterator

import uvicorn

from sage_common.errors import ConfigurationError
from sage_common.ports import port_taken
from sage_gateway.asgi import App
from sage_gateway.http_protocol import WRITE_TIMEOUT_SECONDS, HttpProtocol

BACKLOG = 2048
# uvicorn's: how often the date of the answers is looked at.
TICK_SECONDS = 0.1
DRAIN_POLL_SECONDS = 0.01


class HttpServer:
    """Serves an ASGI application until it is stopped."""

    def __init__(
        self,
        app: App,
        *,
        keep_alive_seconds: int,
        drain_timeout_seconds: float,
        write_timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
    ) -> None:
        self._app = app
        self._protocol = functools.partial(HttpProtocol, write_timeout_seconds=write_timeout_seconds)
        self._keep_alive_seconds = keep_alive_seconds
        self._drain_timeout_seconds = drain_timeout_seconds
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, *, setting: str) -> int:
        """Bind and serve; return the port bound.

        Args:
            port: 0 takes a free one.
            setting: name of the setting to mention when the port is taken.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        listener = _bind(host, port, setting)
        server = _Server(
            uvicorn.Config(
                self._app,
                http=self._protocol,  # type: ignore[arg-type]  # it is called, so what makes one is enough
                ws="none",
                loop="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="warning",
                access_log=False,
                # Nothing here looks at the client's address.
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=self._keep_alive_seconds,
                timeout_graceful_shutdown=max(1, math.ceil(self._drain_timeout_seconds)),
                backlog=BACKLOG,
            )
        )
        self._server = server
        self._task = asyncio.create_task(server.serve(sockets=[listener]), name="http-server")
        waiting = asyncio.ensure_future(server.serving.wait())
        await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            await self._task
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Accept nothing more and finish what is in flight; what outlasts the drain timeout is cancelled."""
        if self._server is not None and self._task is not None:
            self._server.leave()
            await self._task


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the service, says when it serves, and stops without waiting for ticks."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Begin to stop."""
        self.should_exit = True
        self._leaving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks at `should_exit` at the next tick.
        for tick in itertools.count():
            if await self.on_tick(tick):
                return
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn's own sleeps for a tick even where nothing is in flight.
        for closed in (*self.servers, *(sockets or ())):
            closed.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            await asyncio.wait_for(self._finish(), self.config.timeout_graceful_shutdown)
        except asyncio.TimeoutError:
            for task in self.server_state.tasks:
                task.cancel()

    async def _finish(self) -> None:
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        for server in self.servers:
            await server.wait_closed()


def _bind(host: str, port: int, setting: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise port_taken(port, host, setting) from None
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another address or {setting}"
        ) from None
    listener.setblocking(False)
    return listener
