"""One OpenAI-compatible server over HTTP: its connections, its models and its health."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import aiohttp
import orjson

from sage_control_plane.request.engine_state import ModelCard
from sage_control_plane.request.request import RequestKind

LLM_KINDS = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE})
# Names in the field ``kinds`` of an entry of /v1/models: short ones, and those that SAGE's own gateway writes.
KIND_NAMES: Final[dict[str, RequestKind]] = {
    "chat": RequestKind.LLM_CHAT,
    "generate": RequestKind.LLM_GENERATE,
    "embedding": RequestKind.EMBEDDING,
    "llm_chat": RequestKind.LLM_CHAT,
    "llm_generate": RequestKind.LLM_GENERATE,
}
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
    """The HTTP side of an engine. ``open`` before use, ``close`` after."""

    def __init__(self, base_url: str, *, api_key: str, max_concurrency: int, timeouts: UpstreamTimeouts) -> None:
        """``base_url`` as OpenAI clients take it, with or without its ``/v1``."""
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._api_key = api_key
        self._max_concurrency = max_concurrency
        self._timeouts = timeouts
        self._session: aiohttp.ClientSession | None = None
        self._has_health_path = True

    @property
    def root(self) -> str:
        """URL without ``/v1``."""
        return self._root

    def open(self) -> None:
        """Make the connection pool; connections open when needed."""
        headers = {"Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        timeouts = self._timeouts
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_concurrency + SPARE_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=timeouts.connect, sock_connect=timeouts.connect, sock_read=timeouts.read
            ),
            headers=headers,
            # SAGE's client asked for the bytes as they are; compression would only cost both sides time here.
            skip_auto_headers=("Accept-Encoding",),
            # Requests of different tenants share the connections and must not share cookies.
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def post(
        self, path: str, body: bytes, headers: dict[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Post ``body`` as it is."""
        return self._open_session.post(self._root + path, data=body, headers=headers, allow_redirects=False)

    async def check(self) -> None:
        """Check that the server answers, without asking it for work.

        Raises:
            NotServingError: it does not.
        """
        if self._has_health_path:
            status, _ = await self._get("/health")
            if status == 200:
                return
            if status not in (401, 403, *_NO_SUCH_PATH):
                raise NotServingError(f"GET {self._root}/health answered {status}", status=status)
            self._has_health_path = False
        try:
            await self.models()
        except NotServingError as problem:
            # A server without either path is as well as can be known when it answers at all.
            if not problem.no_such_path:
                raise

    async def models(self) -> tuple[ModelCard, ...]:
        """Ask which models the server has.

        Raises:
            NotServingError: it did not say.
        """
        status, body = await self._get("/v1/models")
        where = f"GET {self._root}/v1/models"
        if status in (401, 403):
            reason = "does not accept the api_key" if self._api_key else "wants an api_key"
            raise NotServingError(f"{where} answered {status}: the server {reason}", status=status)
        if status != 200:
            problem = f"{where} answered {status}; is this an OpenAI-compatible server?"
            raise NotServingError(problem, status=status)
        try:
            entries = orjson.loads(body)["data"]
            return tuple(_card(entry) for entry in entries)
        except (orjson.JSONDecodeError, KeyError, TypeError):
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

    async def _get(self, path: str) -> tuple[int, bytes]:
        url = self._root + path
        timeout = aiohttp.ClientTimeout(total=self._timeouts.health)
        try:
            async with self._open_session.get(url, timeout=timeout, allow_redirects=False) as response:
                return response.status, await response.read()
        except asyncio.TimeoutError:
            problem = f"GET {url} was not answered within {self._timeouts.health:g} s"
            raise NotServingError(problem, timed_out=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotServingError(f"GET {url} failed: {error or type(error).__name__}") from None

    @property
    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the upstream is not open")
        return self._session


def _card(entry: dict[str, object]) -> ModelCard:
    context = entry.get("max_model_len")
    return ModelCard(
        name=str(entry["id"]),
        kinds=_kinds(entry.get("kinds")),
        max_context_tokens=context if isinstance(context, int) and context > 0 else 0,
        owned_by=str(entry.get("owned_by") or "unknown"),
        parent=str(entry.get("parent") or ""),
    )


def _kinds(named: object) -> frozenset[RequestKind]:
    """Return what a model is for, by the entry's ``kinds``, a field of SAGE's own; without it a model is an LLM.

    Kinds of work that this engine does not pass on are left out; a model that has no other serves nothing.
    """
    if not isinstance(named, list):
        return LLM_KINDS
    return frozenset(KIND_NAMES[name] for name in named if name in KIND_NAMES)
