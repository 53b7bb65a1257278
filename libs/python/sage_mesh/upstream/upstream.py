"""One OpenAI-compatible server over HTTP: its connections, its models and its health."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import aiohttp

from sage_common.errors import describe, why_unconnected
from sage_control_plane.request.engine_state import ModelCard
from sage_mesh.upstream.base_url import server_urls
from sage_mesh.upstream.http.client import Exchange, HttpClient
from sage_mesh.upstream.http.http_error import HttpClosedError
from sage_mesh.upstream.model_list import read_model_list

# Below the five seconds after which uvicorn, under vLLM and others, closes an idle connection: a request must not
# start on one that is just being closed.
KEEPALIVE_SECONDS = 4.0
# Health checks and discovery must not wait for a connection behind requests.
SPARE_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class UpstreamTimeouts:
    """Seconds. There is no limit on a whole request: that is the caller's deadline.

    Attributes:
        connect: longest wait for a connection.
        read: longest silence within a request; an answer that is not streamed is silent until it is complete.
        health: longest wait for the answer to a health check.
    """

    connect: float = 5.0
    read: float = 600.0
    health: float = 5.0


API_PATH: Final = "/v1"
MODELS_PATH: Final = "/v1/models"
HEALTH_PATH: Final = "/health"
LITELLM_PATH: Final = "/health/liveliness"
LITELLM_ALIVE: Final = b"I'm alive!"
# More than any server computes at once: what is outstanding is a scheduler's decision.
MANY_CONNECTIONS: Final = 32_768
_CLOSED: Final = "the connection was closed here"
_NOT_OPEN: Final = "the upstream is not open"
# Statuses of a server that has no such path.
_NO_SUCH_PATH = (404, 405, 501)


class NotServingError(Exception):
    """The server does not serve now. The message is for people.

    Attributes:
        status: what it answered; 0 when it did not.
        timed_out: whether it only was slow.
    """

    def __init__(self, message: str, *, status: int = 0, timed_out: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.timed_out = timed_out

    @property
    def no_such_path(self) -> bool:
        """Whether the server is there but does not know the path."""
        return self.status in _NO_SUCH_PATH


class Upstream:
    """The HTTP side of an engine. ``open`` before use, ``close`` after.

    Requests go over connections of their own: what asks for health and models does not wait behind them.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        timeouts: UpstreamTimeouts,
        max_concurrency: int = MANY_CONNECTIONS,
        health_path: str | None = None,
    ) -> None:
        """Make an upstream.

        Args:
            base_url: as OpenAI clients take it, with its version or without.
            max_concurrency: requests that are sent at once; what is beyond waits for a connection.
            health_path: where the server's health is asked, below its root; empty for a server of which only the list
                of models is read; None finds out.
        """
        urls = server_urls(base_url)
        self._root = urls.root
        self._api = urls.api
        # Whether the API may lie at the base URL itself, without a version.
        self._may_be_unversioned = not urls.versioned
        self._api_key = api_key
        self._max_concurrency = max_concurrency
        self._timeouts = timeouts
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._client: HttpClient | None = None
        self._health_path = health_path
        self._probed = health_path is not None

    @property
    def root(self) -> str:
        """URL of what lies beside the API: the base URL without its version."""
        return self._root

    @property
    def fronts_others(self) -> bool:
        """Whether it is known to be a proxy in front of other servers."""
        return self._health_path == LITELLM_PATH

    def open(self) -> None:
        """Make the connection pool; connections open when needed."""
        self._closed = False
        headers = {"Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        timeouts = self._timeouts
        self._client = HttpClient(
            self._root,
            # SAGE's client asked for the bytes as they are; compression would only cost both sides time here.
            {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "sage", **headers},
            limit=self._max_concurrency + SPARE_CONNECTIONS,
            connect_seconds=timeouts.connect,
            silence_seconds=timeouts.read,
            kept_seconds=KEEPALIVE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=SPARE_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=timeouts.health, connect=timeouts.connect),
            headers=headers,
            skip_auto_headers=("Accept-Encoding",),
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=False,
        )

    async def close(self) -> None:
        """Close every connection; what is asked, or being read, fails with an ``HttpError``."""
        session, self._session = self._session, None
        client, self._client = self._client, None
        self._closed = True
        if client is not None:
            await client.close()
        if session is not None:
            await session.close()

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Exchange:
        """Return the exchange that posts ``body`` as it is; its context gives the answer.

        Args:
            path: below the root; ``/v1`` stands for the API, wherever that is.

        Raises:
            HttpError: the upstream was closed.
        """
        if self._client is None:
            raise HttpClosedError if self._closed else RuntimeError(_NOT_OPEN)
        return self._client.post(self._url(path), body, headers)

    async def check(self) -> None:
        """Check that the server answers, without asking it for work.

        Raises:
            NotServingError: it does not.
        """
        if not self._probed:
            await self._find_health_path()
        if self._health_path:
            status, _ = await self._get(self._health_path)
            if status == 200:
                return
            if not _lacks_path(status) or self._health_path != HEALTH_PATH:
                raise NotServingError(f"GET {self._root}{self._health_path} answered {status}", status=status)
            self._health_path = ""
        try:
            await self.models()
        except NotServingError as problem:
            # A server without either path is as well as can be known when it answers at all; what is no list is for
            # who needs the list.
            if not problem.no_such_path and problem.status != 200:
                raise

    async def _find_health_path(self) -> None:
        """Choose where the health is asked: LiteLLM's ``/health`` calls every model that it has, for money."""
        status, body = await self._get(LITELLM_PATH)
        if status != 200 and not _lacks_path(status):
            raise NotServingError(f"GET {self._root}{LITELLM_PATH} answered {status}", status=status)
        self._health_path = LITELLM_PATH if status == 200 and LITELLM_ALIVE in body else HEALTH_PATH
        self._probed = True

    async def models(self) -> tuple[ModelCard, ...]:
        """Ask which models the server has.

        Raises:
            NotServingError: it did not say.
        """
        status, body = await self._get(MODELS_PATH)
        if status in _NO_SUCH_PATH and self._may_be_unversioned:
            plain_status, plain_body = await self._get("/models")
            if plain_status == 200 and _is_list(plain_body):
                self._api, status, body = self._root, plain_status, plain_body
        self._may_be_unversioned = self._may_be_unversioned and status in _NO_SUCH_PATH
        where = f"GET {self._url(MODELS_PATH)}"
        if status in (401, 403):
            reason = "does not accept the api_key" if self._api_key else "wants an api_key"
            raise NotServingError(f"{where} answered {status}: the server {reason}", status=status)
        if status != 200:
            problem = f"{where} answered {status}; is this an OpenAI-compatible server? If it has no list of models, "
            raise NotServingError(f"{problem}name them in the engine's setting 'models'", status=status)
        try:
            return read_model_list(body)
        except ValueError:
            shown = body[:80].decode("utf-8", "replace")
            problem = f"{where} did not answer with a list of models but with {shown!r}"
            raise NotServingError(problem, status=status) from None

    async def metrics(self) -> bytes:
        """Read the server's Prometheus page, from ``/metrics`` next to ``/v1``.

        Raises:
            NotServingError: it has none, or did not answer.
        """
        status, body = await self._get("/metrics")
        if status != 200:
            raise NotServingError(f"GET {self._root}/metrics answered {status}", status=status)
        return body

    async def page(self, path: str) -> tuple[int, bytes]:
        """Read a page beside the API; return its status and its body.

        Raises:
            NotServingError: the server did not answer.
        """
        return await self._get(path)

    async def _get(self, path: str) -> tuple[int, bytes]:
        url = self._url(path)
        if self._session is None:
            raise NotServingError(_CLOSED) if self._closed else RuntimeError(_NOT_OPEN)
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                return response.status, await response.read()
        except asyncio.TimeoutError:
            problem = f"GET {url} was not answered within {self._timeouts.health:g} s"
            raise NotServingError(problem, timed_out=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotServingError(f"GET {url} failed: {_cause(error)}") from None

    def _url(self, path: str) -> str:
        return self._api + path[len(API_PATH) :] if path.startswith(f"{API_PATH}/") else self._root + path


def _lacks_path(status: int) -> bool:
    """Return whether a server with this status has no such path for us: unknown, elsewhere, or behind a key."""
    return status in (400, 401, 403, *_NO_SUCH_PATH) or 300 <= status < 400


def _is_list(body: bytes) -> bool:
    try:
        return bool(read_model_list(body))
    except ValueError:
        return False


def _cause(error: aiohttp.ClientError | OSError) -> str:
    return why_unconnected(error.os_error) if isinstance(error, aiohttp.ClientConnectorError) else describe(error)
