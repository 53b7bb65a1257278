"""gRPC ↔ domain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from grpc import aio
from pydantic import SecretStr, ValidationError

from sage.inference.v1 import generation_pb2
from sage.llm.v1 import llm_pb2, llm_pb2_grpc
from sage_common.errors import InvalidRequestError
from sage_common.labels import check_label
from sage_common.secret_text import holds_credentials
from sage_control_plane.request.body import read_body
from sage_control_plane.request.catalog import KIND_OF_ENDPOINT
from sage_control_plane.request.engine_state import DEFAULT_POOL
from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.coordinator import ExecutionCoordinator
from sage_llm_coordinator.engine_log import engine_log
from sage_llm_coordinator.engines.engine_kind import EngineSettings
from sage_llm_coordinator.engines.registry import engine_kind, engine_settings, kind_of_model
from sage_llm_coordinator.registrations import Registrations
from sage_llm_coordinator.request_body import streaming_body
from sage_llm_coordinator.start_rules import StartRules, check_model
from sage_mesh.executor.direct_call import direct_request, run_here
from sage_mesh.openai_answer import TextDelta, read_delta
from sage_mesh.sse import DONE, SseParser
from sage_mesh.wire.engines import state_to_wire
from sage_mesh.wire.frames import usage_to_wire
from sage_mesh.wire.generation import chat_messages
from sage_platform.grpc_access import for_operators

MAX_URL_CHARACTERS = 2048
# Aliases of one engine.
MAX_NAMES = 64


class LlmServicer(llm_pb2_grpc.LlmServiceServicer):
    """The gRPC API; engines answer it through the same code as the ring."""

    def __init__(
        self,
        coordinator: ExecutionCoordinator,
        registrations: Registrations,
        drain_timeout_seconds: float,
        start_rules: StartRules | None = None,
    ) -> None:
        self._coordinator = coordinator
        self._registrations = registrations
        self._drain_timeout_seconds = drain_timeout_seconds
        self._start_rules = start_rules or StartRules()

    async def Chat(  # noqa: N802 - the name in the contract
        self, request: llm_pb2.ChatRequest, context: aio.ServicerContext
    ) -> AsyncIterator[llm_pb2.ChatResponse]:
        if not request.messages:
            raise InvalidRequestError("'messages' must hold at least one message", param="messages")
        content = {"messages": chat_messages(request.messages)}
        async for engine_id, piece in self._run(Endpoint.CHAT_COMPLETIONS, request.model, content, request.parameters):
            yield llm_pb2.ChatResponse(engine_id=engine_id, **_fields(piece))

    async def Generate(  # noqa: N802
        self, request: llm_pb2.GenerateRequest, context: aio.ServicerContext
    ) -> AsyncIterator[llm_pb2.GenerateResponse]:
        content = {"prompt": request.prompt}
        async for engine_id, piece in self._run(Endpoint.COMPLETIONS, request.model, content, request.parameters):
            yield llm_pb2.GenerateResponse(engine_id=engine_id, **_fields(piece))

    async def ListEngines(  # noqa: N802
        self, request: llm_pb2.ListEnginesRequest, context: aio.ServicerContext
    ) -> llm_pb2.ListEnginesResponse:
        return llm_pb2.ListEnginesResponse(engines=[state_to_wire(state) for state in self._coordinator.states()])

    @for_operators
    async def RegisterEngine(  # noqa: N802
        self, request: llm_pb2.RegisterEngineRequest, context: aio.ServicerContext
    ) -> llm_pb2.RegisterEngineResponse:
        if not request.url:
            raise InvalidRequestError("'url' is empty; give the server's base URL", param="url")
        if holds_credentials(request.url):
            raise InvalidRequestError(
                "'url' holds credentials, which everybody sees who lists the engines; give the key as api_key",
                param="url",
            )
        _check_labels(request, ("engine_id", "pool", "health_path"))
        check_label(request.url, "url", MAX_URL_CHARACTERS)
        settings = _settings(
            kind="openai",
            url=request.url,
            pool=request.pool or DEFAULT_POOL,
            max_concurrency=request.max_concurrency,
            kinds=tuple(request.kinds),
            aliases=tuple(request.aliases),
            models=tuple(request.models),
            health_path=request.health_path if request.HasField("health_path") else None,
            api_key=SecretStr(request.api_key),
        )
        state = await self._registrations.add(request.engine_id or _name_of(request.url), settings)
        return llm_pb2.RegisterEngineResponse(engine=state_to_wire(state))

    @for_operators
    async def StartEngine(  # noqa: N802
        self, request: llm_pb2.StartEngineRequest, context: aio.ServicerContext
    ) -> llm_pb2.StartEngineResponse:
        if not request.model:
            raise InvalidRequestError("'model' is empty; name a model or its folder", param="model")
        _check_labels(request, ("name", "served_model_name", "device", "pool"))
        self._start_rules.check(request.model, request.arguments, dict(request.environment))
        settings = _settings(
            **_start_kind(request),
            model=request.model,
            served_model_name=request.served_model_name,
            aliases=tuple(request.aliases),
            arguments=tuple(request.arguments),
            environment=dict(request.environment),
            port=request.port,
            pool=request.pool or DEFAULT_POOL,
            max_concurrency=request.max_concurrency,
            check_memory=not request.skip_memory_check,
            kinds=tuple(request.kinds),
        )
        name = request.name or engine_kind(settings).short_name(settings)
        return llm_pb2.StartEngineResponse(engine=state_to_wire(await self._registrations.add(name, settings)))

    @for_operators
    async def RestartEngine(  # noqa: N802
        self, request: llm_pb2.RestartEngineRequest, context: aio.ServicerContext
    ) -> llm_pb2.RestartEngineResponse:
        seconds = request.timeout_ms / 1000 or self._drain_timeout_seconds
        state, aborted = await self._coordinator.orders.run(
            f"restart of {request.engine_id}",
            lambda: self._coordinator.restart(request.engine_id, drain=request.drain, timeout_seconds=seconds),
        )
        return llm_pb2.RestartEngineResponse(engine=state_to_wire(state), aborted=aborted)

    @for_operators
    async def EngineLogs(  # noqa: N802
        self, request: llm_pb2.EngineLogsRequest, context: aio.ServicerContext
    ) -> AsyncIterator[llm_pb2.EngineLogsResponse]:
        async for lines in engine_log(
            self._coordinator, request.engine_id, last_lines=request.lines, follow=request.follow
        ):
            yield llm_pb2.EngineLogsResponse(lines=lines)

    @for_operators
    async def RemoveEngine(  # noqa: N802
        self, request: llm_pb2.RemoveEngineRequest, context: aio.ServicerContext
    ) -> llm_pb2.RemoveEngineResponse:
        seconds = request.timeout_ms / 1000 or self._drain_timeout_seconds
        aborted = await self._coordinator.orders.run(
            f"removal of {request.engine_id}",
            lambda: self._registrations.remove(request.engine_id, drain=request.drain, timeout_seconds=seconds),
        )
        return llm_pb2.RemoveEngineResponse(aborted=aborted)

    @for_operators
    async def LoadLora(  # noqa: N802
        self, request: llm_pb2.LoadLoraRequest, context: aio.ServicerContext
    ) -> llm_pb2.LoadLoraResponse:
        _check_labels(request, ("name",))
        check_model(request.path)
        state = await self._coordinator.load_lora(request.engine_id, request.name, request.path)
        return llm_pb2.LoadLoraResponse(engine=state_to_wire(state))

    @for_operators
    async def UnloadLora(  # noqa: N802
        self, request: llm_pb2.UnloadLoraRequest, context: aio.ServicerContext
    ) -> llm_pb2.UnloadLoraResponse:
        state = await self._coordinator.unload_lora(request.engine_id, request.name)
        return llm_pb2.UnloadLoraResponse(engine=state_to_wire(state))

    async def _run(
        self,
        endpoint: Endpoint,
        model: str,
        content: dict[str, Any],
        parameters: generation_pb2.GenerationParameters,
    ) -> AsyncIterator[tuple[str, TextDelta]]:
        """Give (engine id, piece of text); the last piece has the finish reason and the usage."""
        engine, name = self._coordinator.choose(model, KIND_OF_ENDPOINT[endpoint])
        engine_id = engine.spec.engine_id
        body = streaming_body(name, content, parameters)
        read_body(endpoint, body)
        parser = SseParser()
        finish_reason, usage = "", None
        async with run_here(engine, direct_request(endpoint, body, name)) as reply:
            async for data in reply:
                for event in parser.feed(data):
                    if event.data == DONE:
                        continue
                    piece = read_delta(event.data)
                    finish_reason = piece.finish_reason or finish_reason
                    usage = piece.usage or usage
                    if piece.text:
                        yield engine_id, TextDelta(piece.text)
            counted = reply.usage if usage is None else usage.completed_by(reply.usage)
            yield engine_id, TextDelta("", finish_reason, counted)


def _fields(piece: TextDelta) -> dict[str, Any]:
    """Return the fields that both streamed responses have."""
    return {
        "text": piece.text,
        "finish_reason": piece.finish_reason,
        "usage": None if piece.usage is None else usage_to_wire(piece.usage),
    }


def _start_kind(request: llm_pb2.StartEngineRequest) -> dict[str, object]:
    """Return the kind of engine that the model wants, with the settings that this kind alone has."""
    kind = kind_of_model(request.model)
    # A kind that cannot place its server refuses a device as a setting that it does not have.
    return {"kind": kind, **({"device": request.device} if request.device else {})}


def _settings(**values: object) -> EngineSettings:
    try:
        return engine_settings(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequestError(f"{where}: {first['msg']}", param=where) from None


def _check_labels(request: Any, fields: tuple[str, ...]) -> None:
    """Raise InvalidRequestError for a name that is too long, or holds what is not printable."""
    for field in fields:
        check_label(getattr(request, field), field)
    for field in ("aliases", "kinds", "models"):
        names = getattr(request, field, ())
        if len(names) > MAX_NAMES:
            raise InvalidRequestError(f"{field!r} holds {len(names)} names, the limit is {MAX_NAMES}", param=field)
        for name in names:
            check_label(name, field)


def _name_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}-{parts.port}" if parts.port else f"{parts.hostname}"
