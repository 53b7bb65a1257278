"""uvicorn inside the service's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import re
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sage_client.error_body import error_body
from sage_common.errors import ConfigurationError, InvalidRequestError
from sage_common.ports import port_taken
from sage_gateway.asgi import App

BACKLOG = 2048
_METHODS = (b"POST ", b"GET ", b"PUT ", b"DELETE ")
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class HttpServer:
    """Serves an ASGI application until it is stopped."""

    def __init__(self, app: App, *, keep_alive_seconds: int, drain_timeout_seconds: float) -> None:
        self._app = app
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
                http=_Protocol,
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
            self._server.should_exit = True
            await self._task


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the service and says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()


class _Protocol(HttpToolsProtocol):
    """Refuses what is not HTTP in OpenAI's error shape too, and waits for a request only as long as an idle connection
    may stay open: uvicorn's own timer covers the time after an answer, not a head or a body that never comes."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        # RFC 9110 lets a server ignore Upgrade; Java's client offers h2c with its first request. The parser stops at
        # the end of such a head and the body would be lost, so the offer is taken out before it sees it.
        if data.startswith(_METHODS) and (self.cycle is None or not self.cycle.more_body):
            head, separator, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"", head) + separator + rest
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._waited()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._wait()
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        # From here on the body reader's timeout counts.
        self._waited()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._waited()
        super().on_message_complete()

    def _wait(self) -> None:
        self._waited()
        self._waiting = self.loop.call_later(self.timeout_keep_alive, self._give_up)

    def _waited(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        cycle = self.cycle
        # A whole request whose answer is under way is not cut off for what its client has begun to send after it.
        if cycle is None or cycle.response_complete or cycle.more_body:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        body = error_body(InvalidRequestError(msg, code="invalid_http"))
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()


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
