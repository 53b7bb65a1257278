"""Sends requests to one server and gives its answers as they come."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from sage_mesh.upstream.http.answer import HttpAnswer
from sage_mesh.upstream.http.connection import HttpConnection
from sage_mesh.upstream.http.http_error import StaleConnectionError
from sage_mesh.upstream.http.pool import ConnectionPool
from sage_mesh.upstream.http.request_head import RequestHeads, split_url


class HttpClient:
    """The client of one server. Made in a running event loop, closed when it is not needed.

    Args:
        url: any URL of the server.
        headers: sent with every request.
        limit: requests that are under way at once; what is beyond waits for a connection.
        connect_seconds: longest wait for a connection.
        silence_seconds: longest time without a byte within a request.
        kept_seconds: how long a connection without a request stays open.

    Raises:
        ValueError: the URL is no HTTP URL, or a header would be more than one line.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        limit: int,
        connect_seconds: float,
        silence_seconds: float,
        kept_seconds: float,
    ) -> None:
        origin, _ = split_url(url)
        self._heads = RequestHeads(origin, headers)
        self._silence_seconds = silence_seconds
        self._pool = ConnectionPool(origin, limit=limit, connect_seconds=connect_seconds, kept_seconds=kept_seconds)

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._pool.connections

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Exchange:
        """Return the exchange that posts ``body``: entered, it sends the request and gives the answer, with its head.

        Args:
            url: at the server.
            headers: further ones, and no other values of those of every request.

        Raises:
            ValueError: the URL is at another server, or a header would be more than one line.
        """
        return Exchange(self._pool, self._heads.post(url, headers, len(body)), body, self._silence_seconds)

    async def close(self) -> None:
        """Close every connection; answers that are not complete fail with an HttpError."""
        await self._pool.close()


class Exchange:
    """One request and its answer.

    Leaving it before the answer is complete closes the connection: so a server learns that nobody waits for the rest.

    Raises:
        OSError: no connection could be made; HttpError where it broke, was closed here, or brought no HTTP.
        asyncio.TimeoutError: no connection could be made in time, or nothing came over it for too long.
    """

    __slots__ = ("_answer", "_body", "_head", "_pool", "_silence_seconds")

    def __init__(self, pool: ConnectionPool, head: bytes, body: bytes, silence_seconds: float) -> None:
        self._pool = pool
        self._head = head
        self._body = body
        self._silence_seconds = silence_seconds
        self._answer: HttpAnswer | None = None

    async def __aenter__(self) -> HttpAnswer:
        kept = self._pool.kept()
        if kept is not None:
            try:
                return await self._send(kept)
            except StaleConnectionError:
                # The server closed it before it knew of this request, which goes over a new one, once.
                pass
        return await self._send(await self._pool.connect())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            self._answer.close()

    async def _send(self, connection: HttpConnection) -> HttpAnswer:
        answer = connection.send(self._head, self._body, self._silence_seconds)
        try:
            await answer.head()
        except BaseException:
            answer.close()
            raise
        self._answer = answer
        return answer
