"""uvicorn inside the service's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import math
import socket
import ssl
from collections.abc import Iterator, Sequence

import uvicorn

from sage_gateway.asgi import App
from sage_gateway.bound_listener import bound_listener
from sage_gateway.connection_limit import ConnectionLimit
from sage_gateway.http_protocol import WRITE_TIMEOUT_SECONDS, HttpProtocol

BACKLOG = 2048
# uvicorn's: how often the date of the answers is looked at.
TICK_SECONDS = 0.1
DRAIN_POLL_SECONDS = 0.01


class HttpServer:
    """Serves an ASGI application until it is stopped.

    Args:
        limit: how many connections it holds; None for any number.
        context: serves HTTPS with it; None for HTTP.
    """

    def __init__(
        self,
        app: App,
        *,
        keep_alive_seconds: int,
        drain_timeout_seconds: float,
        write_timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
        limit: ConnectionLimit | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._app = app
        self._protocol = functools.partial(HttpProtocol, write_timeout_seconds=write_timeout_seconds, limit=limit)
        self._context = context
        self._keep_alive_seconds = keep_alive_seconds
        self._drain_timeout_seconds = drain_timeout_seconds
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def secure(self) -> bool:
        """Whether it serves HTTPS."""
        return self._context is not None

    async def start(self, host: str, port: int, *, setting: str, descriptors: Sequence[int] = ()) -> int:
        """Bind and serve; return the port bound.

        Args:
            port: 0 takes a free one.
            setting: name of the setting to mention when the port is taken.
            descriptors: sockets that others share, one a family of addresses; see ``bound_listener``.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        listener = bound_listener(host, port, setting, descriptors)
        context = self._context
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
                ssl_context_factory=None if context is None else lambda _config, _default: context,
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

    async def stop(self, drain_seconds: float | None = None, *, gently: bool = False) -> None:
        """Accept nothing more and finish what is in flight; what outlasts the drain timeout is cancelled.

        Args:
            drain_seconds: another time-out than the server's own.
            gently: another server takes the connections from now on: let no client's next request meet a closed one.
        """
        if self._server is not None and self._task is not None:
            self._server.leave(drain_seconds, gently=gently)
            await self._task


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the service, says when it serves, and stops without waiting for ticks."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()
        self._leaving = asyncio.Event()
        self._gently = False

    def leave(self, drain_seconds: float | None, *, gently: bool) -> None:
        """Begin to stop."""
        if drain_seconds is not None:
            self.config.timeout_graceful_shutdown = max(1, math.ceil(drain_seconds))
        self._gently = gently
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
        self._end_connections()
        try:
            await asyncio.wait_for(self._finish(), self.config.timeout_graceful_shutdown)
        except asyncio.TimeoutError:
            for task in self.server_state.tasks:
                task.cancel()

    def _end_connections(self) -> None:
        for connection in list(self.server_state.connections):
            if not self._gently:
                connection.shutdown()
            elif isinstance(connection, HttpProtocol) and not connection.is_leaving:
                connection.leave()

    async def _finish(self) -> None:
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
            if self._gently:
                # One that was accepted before the listener closed may be made only now.
                self._end_connections()
        for server in self.servers:
            await server.wait_closed()
