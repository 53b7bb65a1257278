"""The client: one typed API for chat, completions and embeddings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import orjson

from sage_client.models import ModelInfo
from sage_client.results import (
    ChatResult,
    EmbeddingResult,
    RerankResult,
    TextPiece,
    read_chat_result,
    read_rerank_result,
)
from sage_client.settings import ClientSettings
from sage_client.text_stream import text_pieces
from sage_client.transport import Transport
from sage_common.config import load
from sage_common.errors import ConfigurationError, InvalidRequestError
from sage_common.service_settings import NatsSettings
from sage_control_plane.request.request import Endpoint, Hints
from sage_mesh.inference_request import InferenceRequest, new_request_id

Messages = Sequence[Mapping[str, Any]]
HTTP_SCHEMES = ("http", "https")
RING_SCHEMES = ("nats", "tls")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What may differ from call to call; None takes the client's own.

    Attributes:
        hints: how urgent the request is.
        request_id: unique among requests in flight; None makes one.
        traceparent: W3C trace context to go on with; empty for none.
    """

    hints: Hints = Hints()
    timeout_seconds: float | None = None
    tenant: str | None = None
    request_id: str | None = None
    traceparent: str = ""


DEFAULT_OPTIONS = CallOptions()


class AsyncUnifiedInferenceClient:
    """Chat, completions and embeddings through SAGE. Failures are SageErrors.

    ``params`` of the methods are further fields of the OpenAI request (``max_tokens``, ``temperature``, ``tools`` …);
    those that are None are left out.
    """

    def __init__(self, transport: Transport, *, tenant: str = "", timeout_seconds: float = 600.0) -> None:
        self._transport = transport
        self._tenant = tenant
        self._timeout_seconds = timeout_seconds

    @classmethod
    async def create(
        cls,
        target: str | None = None,
        *,
        tenant: str | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
    ) -> AsyncUnifiedInferenceClient:
        """Connect. What is None comes from the settings' section ``client``.

        Args:
            target: ``http://host:8888`` for a gateway, ``nats://host:4222`` to join the ring as an edge.
            timeout: longest wait for one answer, in seconds.

        Raises:
            ConfigurationError: the target is neither, or an api_key is given for the ring.
            UnavailableError: no NATS server answers. A gateway that does not answer shows at the first call.
        """
        settings = load(ClientSettings)
        transport = await _open_transport(
            target or settings.target,
            settings.api_key.get_secret_value() if api_key is None else api_key,
            settings.max_connections,
            key_was_given=bool(api_key),
        )
        return cls(
            transport,
            tenant=settings.tenant if tenant is None else tenant,
            timeout_seconds=settings.timeout_seconds if timeout is None else timeout,
        )

    async def chat(
        self,
        messages: Messages | str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Any,
    ) -> ChatResult:
        """Answer a conversation; a string is one message of the user."""
        body = {**params, "messages": _messages(messages), "model": model, "stream": False}
        answer = await self._transport.fetch(self._request(Endpoint.CHAT_COMPLETIONS, body, options))
        return read_chat_result(answer.body, answer.metadata)

    def stream_chat(
        self,
        messages: Messages | str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Any,
    ) -> AsyncIterator[TextPiece]:
        """Answer a conversation piece by piece. Leaving the loop early cancels the request."""
        body = {**params, "messages": _messages(messages), "model": model}
        return self._stream(Endpoint.CHAT_COMPLETIONS, body, options)

    async def generate(
        self, prompt: str, model: str | None = None, *, options: CallOptions = DEFAULT_OPTIONS, **params: Any
    ) -> ChatResult:
        """Continue a prompt."""
        body = {**params, "prompt": prompt, "model": model, "stream": False}
        answer = await self._transport.fetch(self._request(Endpoint.COMPLETIONS, body, options))
        return read_chat_result(answer.body, answer.metadata)

    def stream_generate(
        self, prompt: str, model: str | None = None, *, options: CallOptions = DEFAULT_OPTIONS, **params: Any
    ) -> AsyncIterator[TextPiece]:
        """Continue a prompt piece by piece. Leaving the loop early cancels the request."""
        return self._stream(Endpoint.COMPLETIONS, {**params, "prompt": prompt, "model": model}, options)

    async def embed(
        self,
        texts: str | Sequence[str],
        model: str | None = None,
        dimensions: int | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Any,
    ) -> EmbeddingResult:
        """Embed texts: one vector a text, with ``dimensions`` cut to that many floats and normalised again."""
        given = [texts] if isinstance(texts, str) else list(texts)
        body = {**params, "input": given, "model": model, "dimensions": dimensions, "encoding_format": "base64"}
        answer = await self._transport.fetch_vectors(self._request(Endpoint.EMBEDDINGS, body, options))
        metadata = answer.metadata
        return EmbeddingResult(
            vectors=answer.vectors,
            model=answer.model,
            usage=metadata.completed(answer.usage),
            request_id=metadata.request_id,
            engine=metadata.engine,
            queue_ms=metadata.queue_ms,
            attempts=metadata.attempts,
            truncated_inputs=metadata.truncated_inputs,
            engine_time=metadata.engine_time,
        )

    async def rerank(
        self,
        query: str,
        documents: Sequence[str],
        model: str | None = None,
        top_n: int | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Any,
    ) -> RerankResult:
        """Order documents by their relevance to a query; with ``top_n``, return only that many of the best."""
        body = {**params, "query": query, "documents": list(documents), "model": model, "top_n": top_n}
        answer = await self._transport.fetch(self._request(Endpoint.RERANK, body, options))
        return read_rerank_result(answer.body, answer.metadata)

    async def models(self) -> list[ModelInfo]:
        """Return the models that some engine serves, by name."""
        return await self._transport.models()

    async def close(self) -> None:
        """Release the connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncUnifiedInferenceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _stream(self, endpoint: Endpoint, body: dict[str, Any], options: CallOptions) -> AsyncIterator[TextPiece]:
        body = {"stream_options": {"include_usage": True}, **body, "stream": True}
        async with self._transport.stream(self._request(endpoint, body, options)) as answer:
            async for piece in text_pieces(answer):
                yield piece

    def _request(self, endpoint: Endpoint, body: Mapping[str, Any], options: CallOptions) -> InferenceRequest:
        given = {name: value for name, value in body.items() if value is not None}
        try:
            encoded = orjson.dumps(given)
        except TypeError as error:
            raise InvalidRequestError(f"the request is not JSON: {error}", code="invalid_type") from None
        return InferenceRequest(
            endpoint=endpoint,
            body=encoded,
            request_id=options.request_id or new_request_id(),
            tenant=(self._tenant if options.tenant is None else options.tenant) or None,
            hints=options.hints,
            timeout_seconds=self._timeout_seconds if options.timeout_seconds is None else options.timeout_seconds,
            traceparent=options.traceparent,
        )


def _messages(messages: Messages | str) -> list[Mapping[str, Any]]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)


async def _open_transport(target: str, api_key: str, max_connections: int, *, key_was_given: bool) -> Transport:
    # The two ways pull in different libraries; each is imported when it is chosen.
    scheme = urlsplit(target).scheme
    if scheme in HTTP_SCHEMES:
        from sage_client.http import HttpTransport

        return HttpTransport(target, api_key=api_key, max_connections=max_connections)
    if scheme in RING_SCHEMES:
        if key_was_given:
            raise ConfigurationError(f"an api_key means nothing to the ring {target}; leave it out, or name a gateway")
        from sage_client.ring import open_ring_transport

        return await open_ring_transport(load(NatsSettings, url=target))
    raise ConfigurationError(f"target {target!r} is neither a gateway (http://host:8888) nor a ring (nats://host:4222)")
