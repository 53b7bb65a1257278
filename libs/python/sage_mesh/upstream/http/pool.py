"""The connections to one server: kept while they are of use, made when there is none, bounded in number."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Final

from aiohappyeyeballs import AddrInfoType, start_connection

from sage_mesh.upstream.http.connection import HttpConnection
from sage_mesh.upstream.http.http_error import HttpClosedError, HttpError
from sage_mesh.upstream.http.request_head import Origin

# How long the addresses of a name are taken to be the same.
ADDRESSES_SECONDS: Final = 10.0
# Of a server with several addresses the next one is tried beside after so long (RFC 8305).
NEXT_ADDRESS_SECONDS: Final = 0.25


class ConnectionPool:
    """Connections to one server. Made in a running event loop.

    Args:
        limit: connections that are open at once; who needs one more waits for its turn.
        connect_seconds: longest wait for a connection, one's turn included.
        kept_seconds: how long a connection without a request stays open.
    """

    def __init__(self, origin: Origin, *, limit: int, connect_seconds: float, kept_seconds: float) -> None:
        self._origin = origin
        self._limit = limit
        self._connect_seconds = connect_seconds
        self._kept_seconds = kept_seconds
        self._loop = asyncio.get_running_loop()
        # In the order in which they became free. The last is taken first, so that those not needed grow old.
        self._free: dict[HttpConnection, None] = {}
        self._open: set[HttpConnection] = set()
        # Connections that are open or being made.
        self._taken = 0
        # Those who wait for a turn: it is a connection that has become free, or leave to make one.
        self._waiting: deque[asyncio.Future[HttpConnection | None]] = deque()
        self._making: set[asyncio.Task[HttpConnection]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._addresses: Sequence[AddrInfoType] = ()
        self._addresses_until = 0.0
        self._closed = False

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def kept(self) -> HttpConnection | None:
        """Return a connection that is open and has no request; None where there is none."""
        oldest = self._loop.time() - self._kept_seconds
        while self._free:
            connection, _ = self._free.popitem()
            if connection.is_open and connection.freed_at > oldest:
                return connection
            connection.close()
        return None

    async def connect(self) -> HttpConnection:
        """Return a new connection; in a full pool one that has become free.

        Raises:
            OSError: none could be made.
            asyncio.TimeoutError: not in time.
            HttpError: the pool is closed.
        """
        if self._closed:
            raise HttpClosedError()
        making = self._loop.create_task(self._connect(), name=f"connect-{self._origin.authority}")
        self._making.add(making)
        try:
            await asyncio.wait({making}, timeout=self._connect_seconds)
            if self._closed:
                raise HttpClosedError()
            if not making.done():
                raise asyncio.TimeoutError
            return making.result()
        except BaseException:
            _undo(making)
            raise
        finally:
            self._making.discard(making)

    async def close(self) -> None:
        """Close every connection; answers that are not complete fail with an HttpError."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for making in self._making:
            making.cancel()
        for connection in list(self._open):
            connection.abort(HttpClosedError())
        # The transports close in the next turn of the loop.
        await asyncio.sleep(0)

    # A connection calls what follows.

    def on_free(self, connection: HttpConnection) -> None:
        if self._closed:
            connection.close()
        elif not self._give_turn(connection):
            self._free[connection] = None
            if self._sweep is None:
                self._sweep = self._loop.call_later(self._kept_seconds, self._close_old)

    def on_lost(self, connection: HttpConnection) -> None:
        self._free.pop(connection, None)
        if connection in self._open:
            self._open.discard(connection)
            self._leave()

    async def _connect(self) -> HttpConnection:
        turn = await self._turn()
        if turn is not None:
            return turn
        try:
            connection = await self._make()
        except BaseException:
            self._leave()
            raise
        self._open.add(connection)
        return connection

    async def _turn(self) -> HttpConnection | None:
        """Wait for one's turn; return the connection that it is, or None for leave to make one."""
        while self._taken >= self._limit:
            turn: asyncio.Future[HttpConnection | None] = self._loop.create_future()
            self._waiting.append(turn)
            try:
                connection = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on(turn.result())
                raise
            if connection is None or connection.is_open:
                return connection
        self._taken += 1
        return None

    def _pass_on(self, turn: HttpConnection | None) -> None:
        if turn is None:
            self._leave()
        elif turn.is_open:
            self.on_free(turn)

    def _leave(self) -> None:
        """Take in that there is one connection less."""
        if not self._give_turn(None):
            self._taken -= 1

    def _give_turn(self, turn: HttpConnection | None) -> bool:
        """Let the one that has waited longest go on; return whether somebody waited."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(turn)
                return True
        return False

    async def _make(self) -> HttpConnection:
        try:
            connected = await start_connection(
                await self._resolve(), happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, loop=self._loop
            )
        except (OSError, RuntimeError) as error:
            self._addresses_until = 0.0
            # uvloop raises RuntimeError for some of them.
            raise error if isinstance(error, OSError) else OSError(str(error)) from None
        tls = tls_context() if self._origin.has_tls else None
        try:
            _, connection = await self._loop.create_connection(
                lambda: HttpConnection(self, self._loop),
                sock=connected,
                ssl=tls,
                server_hostname=self._origin.host if tls else None,
            )
        except BaseException:
            connected.close()
            raise
        if not connection.is_open:
            raise HttpError("the server closed the connection as soon as it was made")
        return connection

    async def _resolve(self) -> Sequence[AddrInfoType]:
        now = self._loop.time()
        if now < self._addresses_until:
            return self._addresses
        host, port = self._origin.host, self._origin.port
        found: Sequence[AddrInfoType]
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._addresses, self._addresses_until = found, now + ADDRESSES_SECONDS
        return found

    def _close_old(self) -> None:
        """Close those that have been free for too long, and come again for the next."""
        self._sweep = None
        now = self._loop.time()
        for connection in list(self._free):
            left = connection.freed_at + self._kept_seconds - now
            if left > 0:
                self._sweep = self._loop.call_later(left, self._close_old)
                return
            del self._free[connection]
            connection.close()


def _undo(making: asyncio.Task[HttpConnection]) -> None:
    """Let go of a connection that nobody takes."""
    if not making.done():
        making.cancel()
        # What it fails with now is nobody's.
        making.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    elif not making.cancelled() and making.exception() is None:
        making.result().close()


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return what certificates are checked with: the system's authorities, or those that SSL_CERT_FILE names."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
