"""The services' messages in plain values."""

from __future__ import annotations

from dataclasses import replace

from sage.inference.v1 import request_pb2
from sage.scheduler.v1 import scheduler_pb2
from sage_client.management.views import (
    CandidateView,
    ClassificationView,
    DispatchView,
    EngineView,
    Explanation,
    FailedModelView,
    PoolView,
    RequestView,
    RoutedModelView,
)
from sage_control_plane.request.engine_state import NO_LOAD, EngineState
from sage_mesh.wire.engines import state_from_wire
from sage_mesh.wire.requests import classification_from_wire


def engine_view(state: EngineState, *, heartbeat_age_seconds: float = 0.0) -> EngineView:
    """Return an engine as its executor describes it, without the counts of a scheduler."""
    spec, load = state.spec, state.load or NO_LOAD
    return EngineView(
        engine_id=spec.engine_id,
        implementation=spec.implementation,
        pool=spec.pool,
        phase=state.phase.name.lower(),
        reason=state.reason,
        executor_id=state.executor_id,
        models=tuple(card.name for card in spec.models),
        max_concurrency=spec.max_concurrency,
        max_outstanding_tokens=spec.max_outstanding_tokens,
        running=len(state.running),
        waiting=load.waiting,
        kv_cache_usage=round(load.kv_cache_usage, 4),
        url=spec.url,
        labels=dict(spec.labels),
        outstanding=len(state.running),
        outstanding_tokens=sum(running.tokens for running in state.running),
        heartbeat_age_seconds=round(heartbeat_age_seconds, 3),
        name=spec.name,
        capacity_source=spec.capacity_source.name.lower(),
        kinds=tuple(sorted({kind.name.lower() for card in spec.models for kind in card.kinds})),
        aliases=tuple(alias for card in spec.models for alias in card.aliases),
    )


def engine_of_entry(entry: scheduler_pb2.EngineBook) -> EngineView:
    """Return an engine with the counts of a scheduler."""
    state = state_from_wire(entry.state, entry.executor_id)
    return replace(
        engine_view(state, heartbeat_age_seconds=entry.heartbeat_age_ms / 1000),
        outstanding=entry.outstanding,
        outstanding_tokens=entry.outstanding_tokens,
        draining=entry.draining,
        breaker=entry.breaker,
        request_cap=entry.request_cap or None,
    )


def pool_view(message: scheduler_pb2.PoolStatus) -> PoolView:
    """Return a pool; only its leader knows the counts."""
    pool = PoolView(message.pool, message.policy, message.leader or None)
    if not message.leading:
        return pool
    return replace(
        pool,
        queued=message.queued,
        outstanding=message.outstanding,
        dispatched=message.dispatched,
        refused=message.refused,
        retried=message.retried,
        interrupted=message.interrupted,
        recomputed_tokens=message.recomputed_tokens,
    )


def explanation(message: scheduler_pb2.Explanation) -> Explanation:
    """Return what a scheduler explains of a request."""
    return Explanation(
        request_id=message.request_id,
        correlation_id=message.correlation_id or None,
        scheduler_id=message.scheduler_id,
        state=message.state,
        tenant=message.tenant,
        classification=_classification(message.classification) if message.HasField("classification") else None,
        policy=message.policy,
        band=message.band,
        age_ms=message.age_ms,
        decided_ms_ago=message.decided_ms_ago,
        queue_ms=round(message.queue_ms, 3),
        engine_id=message.engine_id,
        predicted_ttft_ms=_rounded(message.predicted_ttft_ms) if message.HasField("predicted_ttft_ms") else None,
        actual_ttft_ms=_rounded(message.actual_ttft_ms) if message.HasField("actual_ttft_ms") else None,
        ended_after_ms=_rounded(message.ended_after_ms) if message.HasField("ended_after_ms") else None,
        dispatches=tuple(_dispatch(dispatch) for dispatch in message.dispatches),
        error_code=message.error_code,
        error_message=message.error_message,
        interruptions=message.interruptions,
        output_tokens=message.output_tokens if message.HasField("output_tokens") else None,
        routed=_routed(message.routed) if message.HasField("routed") else None,
    )


def request_view(message: scheduler_pb2.RequestSummary) -> RequestView:
    """Return a request of a list."""
    known = _classification(message.classification) if message.HasField("classification") else None
    return RequestView(
        request_id=message.request_id,
        correlation_id=message.correlation_id or None,
        tenant=message.tenant,
        state=message.state,
        kind=known.kind if known else "",
        model=known.model if known else "",
        pool=known.pool if known else "",
        service_class=known.service_class if known else "",
        priority=known.priority if known else "",
        slo_ttft_ms=known.slo_ttft_ms if known else 0,
        slo_tpot_ms=known.slo_tpot_ms if known else 0,
        slo_end_to_end_ms=known.slo_end_to_end_ms if known else 0,
        input_tokens=known.input_tokens if known else 0,
        engine_id=message.engine_id,
        age_ms=message.age_ms,
        decided_ms_ago=message.decided_ms_ago,
        queue_ms=_rounded(message.queue_ms),
        tries=message.tries,
        hedged=message.hedged,
        ttft_ms=_rounded(message.ttft_ms) if message.HasField("ttft_ms") else None,
        ended_after_ms=_rounded(message.ended_after_ms) if message.HasField("ended_after_ms") else None,
        output_tokens=message.output_tokens if message.HasField("output_tokens") else None,
        streaming=known.streaming if known else False,
        error_code=message.error_code,
        interruptions=message.interruptions,
    )


def _routed(message: request_pb2.RoutedModel) -> RoutedModelView:
    failed = tuple(
        FailedModelView(each.model, each.reason, each.error_code, each.error_message) for each in message.failed
    )
    return RoutedModelView(message.name, tuple(message.path), failed)


def _dispatch(message: scheduler_pb2.DispatchExplanation) -> DispatchView:
    return DispatchView(
        engine_id=message.engine_id,
        tries=message.tries,
        hedge=message.hedge,
        at_ms=_rounded(message.at_ms),
        queue_ms=_rounded(message.queue_ms),
        band=message.band,
        candidates=tuple(
            CandidateView(
                c.engine_id, round(c.score, 4), round(c.cached_share, 3) if c.HasField("cached_share") else None
            )
            for c in message.candidates
        ),
        predicted_ttft_ms=_rounded(message.predicted_ttft_ms) if message.HasField("predicted_ttft_ms") else None,
        error_code=message.error_code,
        error_message=message.error_message,
    )


def _classification(message: request_pb2.Classification) -> ClassificationView:
    value = classification_from_wire(message)
    return ClassificationView(
        kind=value.kind.name.lower(),
        pool=value.pool,
        model=value.model,
        service_class=value.service_class.name.lower(),
        priority=value.priority.name.lower(),
        slo_ttft_ms=value.slo.ttft_ms,
        slo_tpot_ms=value.slo.tpot_ms,
        slo_end_to_end_ms=value.slo.end_to_end_ms,
        input_tokens=value.input_tokens,
        output_tokens=value.output_tokens,
        streaming=value.streaming,
        sheddable=value.sheddable,
        resumable=value.resumable,
        reasons=value.reasons,
    )


def _rounded(milliseconds: float) -> float:
    return round(milliseconds, 3)
