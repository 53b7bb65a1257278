"""gRPC ↔ domain: the HTTP API with typed messages, through the same edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from grpc import aio

from sage.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from sage_client import headers as names
from sage_client.client import AsyncUnifiedInferenceClient, CallOptions
from sage_client.headers import ResponseMetadata
from sage_client.models import ModelInfo
from sage_client.results import ChatResult, EmbeddingResult, TextPiece
from sage_common.trace_context import current_traceparent
from sage_control_plane.request.engine_state import ModelCard
from sage_gateway.admission import traceparent_of
from sage_gateway.credentials import Credentials
from sage_gateway.model_routing.listed_models import listed_models
from sage_gateway.model_routing.model_router import ModelRouter
from sage_mesh.directory import EngineDirectory
from sage_mesh.wire.engines import card_to_wire
from sage_mesh.wire.frames import usage_to_wire
from sage_mesh.wire.generation import chat_messages, generation_fields
from sage_mesh.wire.requests import hints_from_wire

Context = aio.ServicerContext[Any, Any]
# What the client's methods take besides fields of the body.
_RESERVED = ("options",)


class GatewayServicer(gateway_pb2_grpc.GatewayServiceServicer):
    """The gRPC API."""

    def __init__(
        self,
        client: AsyncUnifiedInferenceClient,
        directory: EngineDirectory,
        credentials: Credentials,
        router: ModelRouter | None = None,
        *,
        max_timeout_seconds: float,
    ) -> None:
        self._client = client
        self._directory = directory
        self._credentials = credentials
        self._router = router
        self._max_timeout_seconds = max_timeout_seconds

    async def Chat(  # noqa: N802 - the name in the contract
        self, request: gateway_pb2.ChatRequest, context: Context
    ) -> gateway_pb2.ChatResponse:
        result = await self._client.chat(
            chat_messages(request.messages),
            request.model or None,
            options=self._options(request.envelope, context),
            **generation_fields(request.parameters, _RESERVED),
        )
        return gateway_pb2.ChatResponse(**_text_fields(result))

    async def StreamChat(  # noqa: N802
        self, request: gateway_pb2.StreamChatRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.StreamChatResponse]:
        chat = request.chat
        pieces = self._client.stream_chat(
            chat_messages(chat.messages),
            chat.model or None,
            options=self._options(chat.envelope, context),
            **generation_fields(chat.parameters, _RESERVED),
        )
        async for fields in _stream_fields(pieces):
            yield gateway_pb2.StreamChatResponse(**fields)

    async def Generate(  # noqa: N802
        self, request: gateway_pb2.GenerateRequest, context: Context
    ) -> gateway_pb2.GenerateResponse:
        result = await self._client.generate(
            request.prompt,
            request.model or None,
            options=self._options(request.envelope, context),
            **generation_fields(request.parameters, _RESERVED),
        )
        return gateway_pb2.GenerateResponse(**_text_fields(result))

    async def StreamGenerate(  # noqa: N802
        self, request: gateway_pb2.StreamGenerateRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.StreamGenerateResponse]:
        generate = request.generate
        pieces = self._client.stream_generate(
            generate.prompt,
            generate.model or None,
            options=self._options(generate.envelope, context),
            **generation_fields(generate.parameters, _RESERVED),
        )
        async for fields in _stream_fields(pieces):
            yield gateway_pb2.StreamGenerateResponse(**fields)

    async def Embed(  # noqa: N802
        self, request: gateway_pb2.EmbedRequest, context: Context
    ) -> gateway_pb2.EmbedResponse:
        result = await self._client.embed(
            list(request.texts),
            request.model or None,
            request.dimensions or None,
            options=self._options(request.envelope, context),
        )
        return gateway_pb2.EmbedResponse(
            model=result.model,
            vectors=result.vectors.astype("<f4", copy=False).tobytes(),
            dimensions=result.vectors.shape[1],
            usage=usage_to_wire(result.usage),
            trail=_trail(_metadata(result)),
        )

    async def ListModels(  # noqa: N802
        self, request: gateway_pb2.ListModelsRequest, context: Context
    ) -> gateway_pb2.ListModelsResponse:
        self._credentials.tenant(_headers(context))
        models = listed_models(self._directory.catalog, self._router)
        return gateway_pb2.ListModelsResponse(models=[card_to_wire(_card(model)) for model in models])

    def _options(self, envelope: gateway_pb2.Envelope, context: Context) -> CallOptions:
        headers = _headers(context)
        if envelope.tenant:
            headers[names.TENANT] = envelope.tenant
        timeout = min(envelope.timeout_ms / 1000, self._max_timeout_seconds)
        principal = self._credentials.principal(headers)
        return CallOptions(
            hints=hints_from_wire(envelope.hints),
            timeout_seconds=timeout or None,
            tenant=principal.tenant,
            request_id=envelope.request_id or None,
            traceparent=current_traceparent() or traceparent_of(headers),
            key_id=principal.key_id,
        )


def _headers(context: Context) -> dict[str, str]:
    metadata = context.invocation_metadata() or ()
    return {name: value for name, value in metadata if isinstance(value, str)}


def _card(model: ModelInfo) -> ModelCard:
    return ModelCard(
        model.id,
        frozenset(model.kinds),
        model.aliases,
        model.max_context_tokens,
        model.dimensions,
        model.owned_by,
        model.description,
        model.parent,
    )


def _text_fields(result: ChatResult) -> dict[str, Any]:
    """The fields that both whole responses have."""
    return {
        "text": result.text,
        "finish_reason": result.finish_reason,
        "usage": usage_to_wire(result.usage),
        "trail": _trail(_metadata(result)),
    }


async def _stream_fields(pieces: AsyncIterator[TextPiece]) -> AsyncIterator[Mapping[str, Any]]:
    """The fields that both streamed responses have; the trail is in the first one."""
    trail: gateway_pb2.Trail | None = None
    async for piece in pieces:
        fields: dict[str, Any] = {"text": piece.text, "finish_reason": piece.finish_reason}
        if piece.usage is not None:
            fields["usage"] = usage_to_wire(piece.usage)
        if trail is None:
            trail = fields["trail"] = _trail(piece.metadata)
        yield fields


def _metadata(result: ChatResult | EmbeddingResult) -> ResponseMetadata:
    return ResponseMetadata(result.request_id, result.engine, result.queue_ms, result.attempts)


def _trail(metadata: ResponseMetadata) -> gateway_pb2.Trail:
    return gateway_pb2.Trail(
        request_id=metadata.request_id,
        engine_id=metadata.engine,
        queue_ms=metadata.queue_ms,
        attempts=metadata.attempts,
    )
