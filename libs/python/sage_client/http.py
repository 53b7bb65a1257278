"""The transport over HTTP: the gateway, or any other server with OpenAI's API."""

from __future__ import annotations

import asyncio
import io
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson

from sage_client import headers as names
from sage_client.embedding_body import read_embedding_body
from sage_client.error_body import error_from_response
from sage_client.headers import hints_to_headers, metadata_from_headers
from sage_client.models import ModelInfo, model_from_json
from sage_client.settings import ClientSettings
from sage_client.transport import Answer, StreamAnswer, VectorAnswer
from sage_client.wait_notice import Engines
from sage_common.config import load
from sage_common.errors import (
    DeadlineExceededError,
    EngineFailedError,
    NotFoundError,
    SageError,
    UnavailableError,
    describe,
    why_unconnected,
)
from sage_common.tls_settings import gateway_context
from sage_mesh.inference_request import InferenceRequest

CONNECT_TIMEOUT_SECONDS = 5.0
# The server ends a request at its deadline; the client waits this much longer for the server to say so.
GRACE_SECONDS = 5.0
LIST_TIMEOUT_SECONDS = 30.0
ENGINES_TIMEOUT_SECONDS = 5.0
WHOLE_BODY_BYTES = 512 * 1024


class HttpTransport:
    """Carries requests over one pool of connections.

    Args:
        base_url: ``http://host:port``, with or without ``/v1``.
        max_connections: requests that may be on the way at once; more wait for a connection.
    """

    def __init__(self, base_url: str, *, api_key: str = "", max_connections: int = 256) -> None:
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        context = gateway_context(load(ClientSettings).ca_file) if self._root.startswith("https:") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections, limit_per_host=max_connections, ssl=context),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS),
        )
        # A client that nobody closed ends without aiohttp's complaint on stderr.
        self._forgotten = weakref.finalize(self, _drop, self._session)

    async def fetch(self, request: InferenceRequest) -> Answer:
        async with self._sent(request) as response:
            return Answer(await response.read(), metadata_from_headers(response.headers))

    async def fetch_vectors(self, request: InferenceRequest) -> VectorAnswer:
        answer = await self.fetch(request)
        vectors, model, usage = read_embedding_body(answer.body)
        return VectorAnswer(vectors, model, usage, answer.metadata)

    @asynccontextmanager
    async def stream(self, request: InferenceRequest) -> AsyncIterator[StreamAnswer]:
        async with self._sent(request) as response:
            yield StreamAnswer(response.content.iter_any(), metadata_from_headers(response.headers))

    async def models(self) -> list[ModelInfo]:
        async with self.open("GET", "/v1/models", None, {}, LIST_TIMEOUT_SECONDS) as response:
            body = await response.read()
        try:
            models = [model_from_json(item) for item in orjson.loads(body)["data"]]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise EngineFailedError(f"{self._root} does not answer as an OpenAI API: {body[:80]!r}") from None
        return sorted(models, key=lambda model: model.id)

    async def engines(self) -> Engines:
        async with self.open("GET", "/v1/management/engines", None, {}, ENGINES_TIMEOUT_SECONDS) as response:
            body = await response.read()
        try:
            return [dict(engine) for engine in orjson.loads(body)["data"]]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            raise NotFoundError(f"{self._root} lists no engines") from None

    async def close(self) -> None:
        """Close the connections."""
        self._forgotten.detach()
        await self._session.close()

    @asynccontextmanager
    async def _sent(self, request: InferenceRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {
            "content-type": "application/json",
            names.TIMEOUT_MS: str(max(1, round(request.timeout_seconds * 1000))),
            **hints_to_headers(request.hints),
        }
        if request.correlation_id:
            headers[names.REQUEST_ID] = request.correlation_id
        if request.tenant:
            headers[names.TENANT] = request.tenant
        if request.traceparent:
            headers[names.TRACEPARENT] = request.traceparent
        async with self.open("POST", request.endpoint.path, request.body, headers, request.timeout_seconds) as response:
            yield response

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        body: bytes | aiohttp.FormData | None,
        headers: dict[str, str],
        timeout_seconds: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; what goes wrong until the response has been read becomes a SageError.

        Args:
            timeout_seconds: longest wait for the whole response; None for one that goes on for as long as it likes.
        """
        total = None if timeout_seconds is None else timeout_seconds + GRACE_SECONDS
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_TIMEOUT_SECONDS)
        # A large body in one piece would hold up the event loop.
        data = io.BytesIO(body) if isinstance(body, bytes) and len(body) > WHOLE_BODY_BYTES else body
        try:
            async with self._session.request(
                method, self._root + path, data=data, headers={**self._headers, **headers}, timeout=timeout
            ) as response:
                if response.status >= 400:
                    raise error_from_response(response.status, await response.read(), response.headers)
                yield response
        except aiohttp.ClientSSLError as error:
            raise self._distrusted(error) from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(why_unconnected(error.os_error)) from None
        except aiohttp.ServerTimeoutError as error:
            raise self._unreachable(describe(error)) from None
        except asyncio.TimeoutError:
            raise DeadlineExceededError(f"{self._root} gave no complete answer within {timeout_seconds:g} s") from None
        except aiohttp.InvalidURL as error:
            raise self._unreachable(describe(error)) from None
        except aiohttp.ClientError as error:
            raise UnavailableError(
                f"the connection to {self._root} broke before the answer was complete "
                f"({describe(error)}); send the request again",
                code="connection_lost",
                retryable=True,
            ) from None

    def _distrusted(self, error: aiohttp.ClientSSLError) -> SageError:
        reason = getattr(error, "certificate_error", None) or error.os_error
        why = getattr(reason, "verify_message", "") or describe(reason)
        return UnavailableError(
            f"the certificate of {self._root} is not accepted: {why}; ask for a host that is in it, or set "
            "SAGE_CLIENT_CA_FILE to the authority that has signed it (`sage mesh secure --host NAME` adds a host to "
            "the certificate of a mesh of your own)",
            code="certificate_refused",
        )

    def _unreachable(self, reason: str) -> SageError:
        return UnavailableError(
            f"no gateway answers at {self._root} ({reason}); `sage up` starts one, or set SAGE_CLIENT_TARGET to yours",
            code="gateway_unreachable",
            retryable=True,
        )


def _drop(session: aiohttp.ClientSession) -> None:
    """Close a session where nothing can be awaited any more."""
    connector = session.connector
    session.detach()
    if connector is not None:
        # close() makes a coroutine of it, which would have to be awaited.
        connector._close()
