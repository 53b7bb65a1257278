"""The client: one typed API for chat, completions and embeddings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import orjson

from sage_client.models import ModelInfo
from sage_client.request_params import ChatParams, CompletionParams, EmbeddingParams, RerankParams, checked
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
from sage_client.transport import Answer, Transport
from sage_client.transport_choice import open_transport
from sage_client.wait_notice import OnWait, log_wait, notice_of, what_is_waited_for
from sage_common.config import load
from sage_common.errors import InvalidRequestError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from sage_common.trace_context import current_traceparent
from sage_control_plane.request.catalog import KIND_OF_ENDPOINT
from sage_control_plane.request.request import Endpoint, Hints, RequestKind
from sage_mesh.inference_request import InferenceRequest, check_correlation_id

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sage_client.jobs.job_views import JobView
    from sage_client.jobs.jobs import Jobs

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What may differ from call to call; None takes the client's own.

    Attributes:
        hints: how urgent the request is.
        request_id: id to find the request by, at most 128 printable ASCII characters; None has the mesh make one.
        traceparent: W3C trace context to go on with; empty for that of the code that calls, if any.
        key_id: for a gateway's accounts; servers find the caller's themselves.
    """

    hints: Hints = Hints()
    timeout_seconds: float | None = None
    tenant: str | None = None
    request_id: str | None = None
    traceparent: str = ""
    key_id: str = ""


DEFAULT_OPTIONS = CallOptions()


class AsyncUnifiedInferenceClient:
    """Chat, completions and embeddings through SAGE. Failures are SageErrors.

    ``params`` of the methods are further fields of the OpenAI request (``max_tokens``, ``temperature``, ``tools`` …);
    those that are None are left out, and one that is not known raises an InvalidRequestError with the nearest name.

    Args:
        on_wait: called with for whom and why, when a call waits longer than two seconds; None calls nobody.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        tenant: str = "",
        timeout_seconds: float = 600.0,
        on_wait: OnWait | None = None,
        target: str = "",
        api_key: str | None = None,
    ) -> None:
        self._transport = transport
        self._on_wait = on_wait
        self._target = target
        self._api_key = api_key
        self._jobs: Jobs | None = None
        self._tenant, self._timeout_seconds = tenant, timeout_seconds

    @classmethod
    async def create(
        cls,
        target: str | None = None,
        *,
        tenant: str | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
        on_wait: OnWait | None = None,
    ) -> AsyncUnifiedInferenceClient:
        """Connect. What is None comes from the settings' section ``client``.

        Args:
            target: ``http://host:8888`` for a gateway, ``nats://host:4222`` to join the ring as an edge.
            timeout: longest wait for one answer, in seconds.
            on_wait: called with for whom and why, when a call waits longer than two seconds. None logs a warning to
                the logger ``sage_client`` while no engine is ready, which without further settings goes to stderr.

        Raises:
            ConfigurationError: the target is neither, or an api_key is given for the ring.
            UnavailableError: no NATS server answers. A gateway that does not answer shows at the first call.
        """
        settings = load(ClientSettings)
        transport = await open_transport(
            target or settings.target,
            settings.api_key.get_secret_value() if api_key is None else api_key,
            settings.max_connections,
            key_was_given=bool(api_key),
        )
        return cls(
            transport,
            tenant=settings.tenant if tenant is None else tenant,
            timeout_seconds=settings.timeout_seconds if timeout is None else timeout,
            on_wait=on_wait or log_wait,
            target=target or settings.target,
            api_key=api_key,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target or type(self._transport).__name__!r})"

    async def chat(
        self,
        messages: Messages | str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[ChatParams],
    ) -> ChatResult:
        """Answer a conversation; a string is one message of the user."""
        body = {**checked(params, ChatParams), "messages": _messages(messages), "model": model, "stream": False}
        answer = await self._fetch(self._request(Endpoint.CHAT_COMPLETIONS, body, options), model)
        return read_chat_result(answer.body, answer.metadata)

    def stream_chat(
        self,
        messages: Messages | str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[ChatParams],
    ) -> AsyncIterator[TextPiece]:
        """Answer a conversation piece by piece. Leaving the loop early cancels the request."""
        body = {**checked(params, ChatParams), "messages": _messages(messages), "model": model}
        return self._stream(Endpoint.CHAT_COMPLETIONS, body, options)

    async def generate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[CompletionParams],
    ) -> ChatResult:
        """Continue a prompt."""
        body = {**checked(params, CompletionParams), "prompt": prompt, "model": model, "stream": False}
        answer = await self._fetch(self._request(Endpoint.COMPLETIONS, body, options), model)
        return read_chat_result(answer.body, answer.metadata)

    def stream_generate(
        self,
        prompt: str,
        model: str | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[CompletionParams],
    ) -> AsyncIterator[TextPiece]:
        """Continue a prompt piece by piece. Leaving the loop early cancels the request."""
        return self._stream(
            Endpoint.COMPLETIONS, {**checked(params, CompletionParams), "prompt": prompt, "model": model}, options
        )

    async def embed(
        self,
        texts: str | Sequence[str],
        model: str | None = None,
        dimensions: int | None = None,
        *,
        options: CallOptions = DEFAULT_OPTIONS,
        **params: Unpack[EmbeddingParams],
    ) -> EmbeddingResult:
        """Embed texts: one vector a text, with ``dimensions`` cut to that many floats and normalised again."""
        given = [texts] if isinstance(texts, str) else list(texts)
        body = {
            **checked(params, EmbeddingParams),
            "input": given,
            "model": model,
            "dimensions": dimensions,
            "encoding_format": "base64",
        }
        request = self._request(Endpoint.EMBEDDINGS, body, options)
        async with self._noticed(request.endpoint, model):
            answer = await self._transport.fetch_vectors(request)
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
        **params: Unpack[RerankParams],
    ) -> RerankResult:
        """Order documents by their relevance to a query; with ``top_n``, return only that many of the best."""
        body = {
            **checked(params, RerankParams),
            "query": query,
            "documents": list(documents),
            "model": model,
            "top_n": top_n,
        }
        answer = await self._fetch(self._request(Endpoint.RERANK, body, options), model)
        return read_rerank_result(answer.body, answer.metadata)

    async def models(self) -> list[ModelInfo]:
        """Return the models that some engine serves, by name."""
        return await self._transport.models()

    async def jobs(self) -> Jobs:
        """Return the jobs of this mesh; they are closed with the client. Raises as ``open_jobs`` does."""
        if self._jobs is None:
            # Few clients have jobs, and these need libraries of their own.
            from sage_client.jobs.job_client import open_jobs

            self._jobs = await open_jobs(self._target or None, api_key=self._api_key, on_wait=self._on_wait)
        return self._jobs

    async def submit(self, pipeline: object, job_id: str = "") -> JobView:
        """Submit a pipeline (a ``sage.Pipeline``, YAML or JSON) as a job; see ``Jobs.submit``."""
        return await (await self.jobs()).submit(pipeline, job_id, tenant=self._tenant)

    async def close(self) -> None:
        """Release the connections."""
        await self._transport.close()
        if self._jobs is not None:
            await self._jobs.close()

    async def __aenter__(self) -> AsyncUnifiedInferenceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _stream(self, endpoint: Endpoint, body: dict[str, Any], options: CallOptions) -> AsyncIterator[TextPiece]:
        body = {"stream_options": {"include_usage": True}, **body, "stream": True}
        async with contextlib.AsyncExitStack() as waiting:
            # Until the first piece is there, which may be long after the head of the answer.
            await waiting.enter_async_context(self._noticed(endpoint, body.get("model")))
            async with self._transport.stream(self._request(endpoint, body, options)) as answer:
                async for piece in text_pieces(answer):
                    await waiting.aclose()
                    yield piece

    async def _fetch(self, request: InferenceRequest, model: str | None) -> Answer:
        async with self._noticed(request.endpoint, model):
            return await self._transport.fetch(request)

    def _noticed(self, endpoint: Endpoint, model: str | None) -> AbstractAsyncContextManager[None]:
        return notice_of(lambda: self._waited_for(KIND_OF_ENDPOINT[endpoint], model), self._on_wait)

    async def _waited_for(self, kind: RequestKind, model: str | None) -> str | None:
        try:
            text, ready = what_is_waited_for(await self._transport.engines(), model, kind)
        except (NotFoundError, PermissionDeniedError, UnauthenticatedError, LookupError, TypeError):
            # Not a SAGE gateway, or one that does not show its engines to this caller.
            text, ready = f"an answer of {self._target}", True
        # An answer may take its time: that an engine works on it is news for a person who watches, not for a log.
        return None if ready and self._on_wait is log_wait else text

    def _request(self, endpoint: Endpoint, body: Mapping[str, Any], options: CallOptions) -> InferenceRequest:
        try:
            encoded = orjson.dumps({name: value for name, value in body.items() if value is not None})
        except TypeError as error:
            raise InvalidRequestError(f"the request is not JSON: {error}", code="invalid_type") from None
        return InferenceRequest(
            endpoint=endpoint,
            body=encoded,
            correlation_id=check_correlation_id(options.request_id),
            tenant=(self._tenant if options.tenant is None else options.tenant) or None,
            hints=options.hints,
            timeout_seconds=self._timeout_seconds if options.timeout_seconds is None else options.timeout_seconds,
            traceparent=options.traceparent or current_traceparent(),
            key_id=options.key_id,
        )


def _messages(messages: Messages | str) -> list[Mapping[str, Any]]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
