"""Engines, their models and their state ↔ protobuf."""

from __future__ import annotations

from sage.inference.v1 import engine_pb2
from sage_control_plane.request.engine_state import (
    NO_LOAD,
    CapacitySource,
    EngineLoad,
    EnginePhase,
    EngineSpec,
    EngineState,
    ModelCard,
    RunningRequest,
)
from sage_control_plane.request.request import RequestKind
from sage_mesh.wire.requests import attempt_from_wire, attempt_to_wire


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


def state_to_wire(state: EngineState, *, with_callers: bool = False) -> engine_pb2.EngineState:
    """Translate an engine's state.

    Args:
        with_callers: whether to say whose requests it runs, and their callers' ids: to services of the mesh only.
    """
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
            capacity_source=int(spec.capacity_source),  # type: ignore[arg-type]
        ),
        phase=int(state.phase),  # type: ignore[arg-type]
        reason=state.reason,
        running=[
            engine_pb2.RunningRequest(
                request_id=running.request_id,
                attempt=attempt_to_wire(running.attempt),
                started_replying=running.started_replying,
                tokens=running.tokens,
                tenant=(running.tenant or "") if with_callers else "",
                correlation_id=(running.correlation_id or "") if with_callers else "",
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
        phase_seconds=state.phase_seconds,
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
        capacity_source=CapacitySource(message.capacity_source),
    )


def _load_from_wire(message: engine_pb2.EngineState) -> EngineLoad:
    return EngineLoad(
        running=message.engine_running,
        waiting=message.engine_waiting,
        kv_cache_usage=message.kv_cache_usage,
        # The wire has 0 for what is not reported.
        prefix_hit_rate=message.prefix_hit_rate or None,
        first_token_seconds=message.first_token_seconds or None,
        inter_token_seconds=message.inter_token_seconds or None,
        queue_seconds=message.engine_queue_seconds or None,
    )


def state_from_wire(message: engine_pb2.EngineState, executor_id: str, spec: EngineSpec | None = None) -> EngineState:
    """Translate an engine's state; ``spec`` is that of the message, where it is translated already."""
    return EngineState(
        spec=spec_from_wire(message.spec) if spec is None else spec,
        phase=EnginePhase(message.phase),
        reason=message.reason,
        executor_id=executor_id,
        running=tuple(
            RunningRequest(
                r.request_id,
                attempt_from_wire(r.attempt),
                r.started_replying,
                r.tokens,
                r.tenant or None,
                r.correlation_id or None,
            )
            for r in message.running
        ),
        load=_load_from_wire(message) if message.load_known else None,
        phase_seconds=message.phase_seconds if message.HasField("phase_seconds") else None,
    )
