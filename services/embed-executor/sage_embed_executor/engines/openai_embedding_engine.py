"""Engine ``openai-embedding``: a server with OpenAI's ``/v1/embeddings`` (text-embeddings-inference, vLLM pooling …).

Bytes in, bytes out: what the server answers is what the client gets. A server that also serves ``/v1/rerank`` is used
for that too, where the settings say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Annotated, Final

import orjson
from annotated_types import MinLen
from pydantic import AfterValidator, SecretStr

from sage_client.embedding_body import read_embedding_body
from sage_common.config import nearest
from sage_common.errors import (
    ConfigurationError,
    EngineFailedError,
    InvalidRequestError,
    NotFoundError,
    SageError,
    describe,
)
from sage_common.setting_marks import Alias
from sage_control_plane.request.catalog import KIND_OF_ENDPOINT
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_embed_executor.engines.engine_type import EmbeddingEngineType, EngineContext
from sage_mesh.engine import Engine, EngineRequest, ReplyWriter
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.upstream.base_url import base_url
from sage_mesh.upstream.capacity_probe import CapacityProbe, with_tokens
from sage_mesh.upstream.health_watch import HealthWatch
from sage_mesh.upstream.http.http_error import describe_failure
from sage_mesh.upstream.large_document import is_large_object, usage_of, write_in_turns
from sage_mesh.upstream.model_field import with_model
from sage_mesh.upstream.reported_failure import read_failure
from sage_mesh.upstream.retry_after import retry_after_seconds
from sage_mesh.upstream.token_client import TokenClient
from sage_mesh.upstream.upstream import MANY_CONNECTIONS, NotServingError, Upstream, UpstreamTimeouts
from sage_mesh.upstream.upstream_errors import (
    MAX_ERROR_BYTES,
    model_lost,
    names_model,
    reported_error,
    upstream_error,
)

NAME = "openai-embedding"
# Health checks after which the server is asked for its capacity again.
CHECKS_BETWEEN_ASKS: Final = 15
SERVED_KINDS: Final = {"embedding": RequestKind.EMBEDDING, "rerank": RequestKind.RERANK}


@dataclass(frozen=True, slots=True)
class OpenAiEmbeddingSettings:
    """Settings of the engine openai-embedding.

    Attributes:
        url: base URL of the server.
        api_key: key for the server.
        kinds: what the model is for: embedding, rerank.
        health_path: where the server's health is asked, below its root; empty reads its list of models instead; null
            finds out.
    """

    url: Annotated[str, AfterValidator(base_url), Alias()] = ""
    api_key: Annotated[SecretStr, Alias()] = SecretStr("")
    kinds: Annotated[Sequence[str], MinLen(1), Alias()] = ("embedding",)
    health_path: Annotated[str | None, Alias()] = None


def build(own: OpenAiEmbeddingSettings, context: EngineContext) -> list[Engine]:
    """Return an engine that passes requests on to the server. Raises ConfigurationError: see the messages."""
    settings = context.settings
    if not own.url:
        raise ConfigurationError(
            f"an engine of kind {NAME!r} needs the server's URL; set SAGE_EMBED_EXECUTOR_OPENAI_EMBEDDING_URL"
        )
    if settings.further_models:
        raise ConfigurationError(
            f"an engine of kind {NAME!r} passes on to one model; leave SAGE_EMBED_EXECUTOR_FURTHER_MODELS "
            "empty and start an embed-executor for each further model"
        )
    unknown = [name for name in own.kinds if name not in SERVED_KINDS]
    if unknown:
        raise ConfigurationError(f"unknown kind of work {unknown[0]!r}{nearest(unknown[0], SERVED_KINDS)}")
    card = ModelCard(
        settings.model,
        frozenset(SERVED_KINDS[name] for name in own.kinds),
        tuple(settings.aliases),
        description="model of another server",
    )
    spec = context.spec(NAME, settings.model, card, url=own.url)
    upstream = Upstream(
        own.url,
        api_key=own.api_key.get_secret_value(),
        max_concurrency=settings.max_concurrency or MANY_CONNECTIONS,
        timeouts=UpstreamTimeouts(),
        health_path=own.health_path,
    )
    capacity = CapacityProbe(upstream, ceiling=settings.max_concurrency or None, technical_ceiling=spec.max_concurrency)
    return [OpenAiEmbeddingEngine(spec, upstream, capacity=capacity)]


OPENAI_EMBEDDING = EmbeddingEngineType(NAME, build, OpenAiEmbeddingSettings)


class OpenAiEmbeddingEngine:
    """Passes requests on to a server and watches its health.

    Args:
        spec: with one model, named as the server names it.
        capacity: finds out what the server takes; None leaves it at what the spec says.
        check_seconds: between health checks.
    """

    def __init__(
        self,
        spec: EngineSpec,
        upstream: Upstream,
        *,
        check_seconds: float = 2.0,
        capacity: CapacityProbe | None = None,
    ) -> None:
        self._spec = spec
        self._capacity = capacity
        self._upstream = upstream
        self._tokens = TokenClient(spec.engine_id, upstream, spec.models[0].max_context_tokens)
        self._watch = HealthWatch(lambda: self._spec, upstream.root, self._look, check_seconds)

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    @property
    def phase(self) -> EnginePhase:
        return self._watch.phase

    @property
    def reason(self) -> str:
        return self._watch.reason

    @property
    def token_source(self) -> TokenClient | None:
        """The server's tokenizer; None while the server does not answer."""
        return self._tokens if self.phase is EnginePhase.READY else None

    async def start(self) -> None:
        """Start to watch the server; return when it has answered for the first time."""
        self._upstream.open()
        await self._watch.start()

    async def stop(self) -> None:
        await self._watch.stop()
        await self._upstream.close()

    async def run(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Pass one request on.

        Raises:
            SageError: see ``upstream_errors``; EngineFailedError for a server that cannot be reached or does not
                answer with JSON.
        """
        if KIND_OF_ENDPOINT[request.endpoint] not in self._spec.models[0].kinds:
            raise InvalidRequestError(f"engine {self._spec.engine_id!r} does not serve {request.endpoint.path}")
        data = await self._post(request.endpoint, request.whole(with_model(request.body, request.model)))
        if is_large_object(data):
            reply.head(Media.JSON, model=request.model)
            reply.usage(read_usage(usage_of(data)) or TokenUsage())
            await write_in_turns(reply, data)
            return
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise self._broken(f"answered with something that is not JSON: {data[:80]!r}") from None
        if (failure := read_failure(value)) is not None:
            raise self._judged(reported_error(self._spec.engine_id, failure))
        if not isinstance(value, dict):
            raise self._broken(f"answered with JSON that is no object: {data[:80]!r}")
        reply.head(Media.JSON, model=request.model)
        reply.usage(read_usage(value.get("usage")) or TokenUsage())
        reply.data(data)

    async def _post(self, endpoint: Endpoint, body: bytes) -> bytes:
        try:
            async with self._upstream.post(endpoint.path, body, {}) as response:
                if response.status == 200:
                    return await response.read()
                said = await response.read_up_to(MAX_ERROR_BYTES)
                seconds = retry_after_seconds(response.headers, datetime.now(timezone.utc))
                error = upstream_error(self._spec.engine_id, response.status, said, seconds)
        except asyncio.TimeoutError:
            raise self._broken("did not answer in time") from None
        except OSError as failure:
            raise self._broken(describe_failure(failure)) from None
        raise self._judged(error)

    def _judged(self, error: SageError) -> SageError:
        """Return the error for what the server said: retryable where it has lost its model."""
        if isinstance(error, EngineFailedError):
            self._watch.check_soon()
        if isinstance(error, NotFoundError) and names_model(error.upstream_body, self._spec.models[0].name):
            return model_lost(error)
        return error

    def _broken(self, what: str) -> EngineFailedError:
        self._watch.check_soon()
        return EngineFailedError(f"engine {self._spec.engine_id!r} at {self._upstream.root} {what}", retryable=True)

    async def _look(self, passed: int) -> None:
        await self._upstream.check()
        if not self._watch.served:
            await self._learn_dimensions()
        if self._capacity is not None and passed % CHECKS_BETWEEN_ASKS == 0:
            await self._capacity.ask(again=passed == 0)
            self._spec = with_tokens(self._capacity.apply(self._spec), self._capacity.tokens)

    async def _learn_dimensions(self) -> None:
        """Request one vector: to check that the server serves the model, and for the length of its vectors."""
        card = self._spec.models[0]
        if RequestKind.EMBEDDING not in card.kinds:
            return
        where = f"{self._upstream.root}{Endpoint.EMBEDDINGS.path}"
        body = orjson.dumps({"model": card.name, "input": ["hello"]})
        try:
            async with self._upstream.post(Endpoint.EMBEDDINGS.path, body, {}) as response:
                data = await response.read()
        except (OSError, asyncio.TimeoutError) as failure:
            raise NotServingError(f"{where} broke off: {describe(failure)}") from None
        if response.status != 200:
            raise NotServingError(
                f"{where} answered {response.status} for model {card.name!r}: {data[:200].decode('utf-8', 'replace')}",
                status=response.status,
            )
        try:
            vectors, _model, _usage = read_embedding_body(data)
        except EngineFailedError as problem:
            raise NotServingError(f"{where}: {problem.message}", status=response.status) from None
        self._spec = replace(self._spec, models=(replace(card, dimensions=vectors.shape[1]),))
