"""Protobuf ↔ domain, in one place. Past this module nothing sees a ``_pb2``."""

from __future__ import annotations

from sage.inference.v1 import engine_pb2, frame_pb2, request_pb2
from sage_common.errors import ErrorKind, SageError, error_class
from sage_control_plane.request.engine_state import (
    NO_LOAD,
    EngineLoad,
    EnginePhase,
    EngineSpec,
    EngineState,
    ModelCard,
    RunningRequest,
)
from sage_control_plane.request.request import (
    Attempt,
    Classification,
    Endpoint,
    Hints,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)
from sage_mesh.engine_host import DeliveredTokens, EngineJob
from sage_mesh.reply import EngineTime, TokenUsage

NO_TIME = EngineTime()


def attempt_to_wire(attempt: Attempt) -> frame_pb2.Attempt:
    """Translate an attempt."""
    return frame_pb2.Attempt(submission=attempt.submission, dispatch=attempt.dispatch)


def attempt_from_wire(message: frame_pb2.Attempt) -> Attempt:
    """Translate an attempt."""
    return Attempt(message.submission, message.dispatch)


def hints_from_wire(message: request_pb2.Hints) -> Hints:
    """Translate hints; unspecified becomes None."""
    return Hints(
        priority=Priority(message.priority) if message.priority else None,
        service_class=ServiceClass(message.service_class) if message.service_class else None,
        slo_ttft_ms=message.slo_ttft_ms,
        slo_tpot_ms=message.slo_tpot_ms,
        slo_deadline_ms=message.slo_deadline_ms,
    )


def hints_to_wire(hints: Hints) -> request_pb2.Hints:
    """Translate hints."""
    return request_pb2.Hints(
        priority=hints.priority or 0,  # type: ignore[arg-type]
        service_class=hints.service_class or 0,  # type: ignore[arg-type]
        slo_ttft_ms=hints.slo_ttft_ms,
        slo_tpot_ms=hints.slo_tpot_ms,
        slo_deadline_ms=hints.slo_deadline_ms,
    )


def classification_to_wire(value: Classification) -> request_pb2.Classification:
    """Translate a classification."""
    return request_pb2.Classification(
        kind=int(value.kind),  # type: ignore[arg-type]
        pool=value.pool,
        model=value.model,
        service_class=int(value.service_class),  # type: ignore[arg-type]
        priority=int(value.priority),  # type: ignore[arg-type]
        slo=request_pb2.ServiceLevel(
            ttft_ms=value.slo.ttft_ms, tpot_ms=value.slo.tpot_ms, end_to_end_ms=value.slo.end_to_end_ms
        ),
        input_tokens=value.input_tokens,
        output_tokens=value.output_tokens,
        prefix_blocks=value.prefix_blocks,
        streaming=value.streaming,
        sheddable=value.sheddable,
        items=value.items,
        reasons=value.reasons,
        resumable=value.resumable,
    )


def classification_from_wire(message: request_pb2.Classification) -> Classification:
    """Translate a classification. Raises ValueError on an enumeration number that this version does not know."""
    slo = message.slo
    return Classification(
        kind=RequestKind(message.kind),
        pool=message.pool,
        model=message.model,
        service_class=ServiceClass(message.service_class),
        priority=Priority(message.priority),
        slo=ServiceLevel(slo.ttft_ms, slo.tpot_ms, slo.end_to_end_ms),
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        prefix_blocks=tuple(message.prefix_blocks),
        streaming=message.streaming,
        sheddable=message.sheddable,
        items=message.items,
        reasons=tuple(message.reasons),
        resumable=message.resumable,
    )


def usage_to_wire(usage: TokenUsage) -> frame_pb2.Usage:
    """Translate usage."""
    message = frame_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        truncated_inputs=usage.truncated_inputs,
    )
    time = usage.engine_time
    if time != NO_TIME:
        message.engine_time.queue_us = time.queue_us
        message.engine_time.tokenize_us = time.tokenize_us
        message.engine_time.inference_us = time.inference_us
    return message


def usage_from_wire(message: frame_pb2.Usage) -> TokenUsage:
    """Translate usage."""
    time = NO_TIME
    if message.HasField("engine_time"):
        sent = message.engine_time
        time = EngineTime(sent.queue_us, sent.tokenize_us, sent.inference_us)
    return TokenUsage(
        message.prompt_tokens, message.completion_tokens, message.cached_tokens, message.truncated_inputs, time
    )


def error_to_wire(error: SageError) -> frame_pb2.ErrorDetail:
    """Translate an error."""
    return frame_pb2.ErrorDetail(
        kind=error.kind.value,  # type: ignore[arg-type]
        code=error.code,
        message=error.message,
        param=error.param or "",
        retry_after_ms=int((error.retry_after_seconds or 0) * 1000),
        retryable=error.retryable,
        upstream_status=error.upstream_status,
        upstream_body=error.upstream_body,
    )


def error_from_wire(message: frame_pb2.ErrorDetail) -> SageError:
    """Translate an error; an unknown kind becomes an internal error."""
    try:
        kind = ErrorKind(message.kind)
    except ValueError:
        kind = ErrorKind.INTERNAL
    return error_class(kind)(
        message.message,
        code=message.code or None,
        param=message.param or None,
        retry_after_seconds=message.retry_after_ms / 1000 if message.retry_after_ms else None,
        retryable=message.retryable,
        upstream_status=message.upstream_status,
        upstream_body=message.upstream_body,
    )


def card_to_wire(card: ModelCard) -> engine_pb2.ModelCard:
    """Translate a model card."""
    return engine_pb2.ModelCard(
        name=card.name,
        aliases=card.aliases,
        kinds=[int(kind) for kind in sorted(card.kinds)],  # type: ignore[misc]
        max_context_tokens=card.max_context_tokens,
        dimensions=card.dimensions,
        owned_by=card.owned_by,
        description=card.description,
        parent=card.parent,
    )


def card_from_wire(message: engine_pb2.ModelCard) -> ModelCard:
    """Translate a model card."""
    return ModelCard(
        name=message.name,
        aliases=tuple(message.aliases),
        kinds=frozenset(RequestKind(kind) for kind in message.kinds),
        max_context_tokens=message.max_context_tokens,
        dimensions=message.dimensions,
        owned_by=message.owned_by,
        description=message.description,
        parent=message.parent,
    )


def state_to_wire(state: EngineState) -> engine_pb2.EngineState:
    """Translate an engine's state."""
    spec, load = state.spec, state.load or NO_LOAD
    return engine_pb2.EngineState(
        spec=engine_pb2.EngineSpec(
            engine_id=spec.engine_id,
            implementation=spec.implementation,
            pool=spec.pool,
            models=[card_to_wire(card) for card in spec.models],
            max_concurrency=spec.max_concurrency,
            max_outstanding_tokens=spec.max_outstanding_tokens,
            url=spec.url,
            labels=dict(spec.labels),
        ),
        phase=int(state.phase),  # type: ignore[arg-type]
        reason=state.reason,
        running=[
            engine_pb2.RunningRequest(
                request_id=running.request_id,
                attempt=attempt_to_wire(running.attempt),
                started_replying=running.started_replying,
                tokens=running.tokens,
            )
            for running in state.running
        ],
        load_known=state.load is not None,
        engine_running=load.running,
        engine_waiting=load.waiting,
        kv_cache_usage=load.kv_cache_usage,
        prefix_hit_rate=load.prefix_hit_rate,
        first_token_seconds=load.first_token_seconds,
        inter_token_seconds=load.inter_token_seconds,
        engine_queue_seconds=load.queue_seconds,
    )


def spec_from_wire(message: engine_pb2.EngineSpec) -> EngineSpec:
    """Translate an engine's spec."""
    return EngineSpec(
        engine_id=message.engine_id,
        implementation=message.implementation,
        pool=message.pool,
        models=tuple(card_from_wire(card) for card in message.models),
        max_concurrency=message.max_concurrency,
        max_outstanding_tokens=message.max_outstanding_tokens,
        url=message.url,
        labels=tuple(sorted(message.labels.items())),
    )


def _load_from_wire(message: engine_pb2.EngineState) -> EngineLoad:
    return EngineLoad(
        running=message.engine_running,
        waiting=message.engine_waiting,
        kv_cache_usage=message.kv_cache_usage,
        prefix_hit_rate=message.prefix_hit_rate,
        first_token_seconds=message.first_token_seconds,
        inter_token_seconds=message.inter_token_seconds,
        queue_seconds=message.engine_queue_seconds,
    )


def state_from_wire(message: engine_pb2.EngineState, executor_id: str) -> EngineState:
    """Translate an engine's state."""
    return EngineState(
        spec=spec_from_wire(message.spec),
        phase=EnginePhase(message.phase),
        reason=message.reason,
        executor_id=executor_id,
        running=tuple(
            RunningRequest(r.request_id, attempt_from_wire(r.attempt), r.started_replying, r.tokens)
            for r in message.running
        ),
        load=_load_from_wire(message) if message.load_known else None,
    )


def job_from_wire(message: frame_pb2.Dispatch) -> EngineJob:
    """Translate a dispatch into what its engine is given. Raises ValueError as ``classification_from_wire`` does."""
    request = message.request
    return EngineJob(
        request_id=request.request_id,
        endpoint=Endpoint(request.endpoint),
        body=request.body,
        model=message.classification.model,
        tenant=request.tenant,
        hints=hints_from_wire(request.hints),
        classification=classification_from_wire(message.classification),
        attempt=attempt_from_wire(message.attempt),
        traceparent=request.traceparent,
        waited_seconds=request.age_ms / 1e3 + message.queue_us / 1e6,
        told=DeliveredTokens(tuple(request.told.ids), request.told.characters) if request.HasField("told") else None,
    )
