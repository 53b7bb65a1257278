"""The spans of recorded requests in the scheduler: from arrival, or from the failure before, to a dispatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sage.inference.v1 import request_pb2
from sage_common.trace_context import is_sampled
from sage_control_plane.tracking.decisions import Dispatch, Refuse
from sage_mesh.genai_attributes import attempt_attributes, request_attributes
from sage_mesh.wire.requests import tenant_from_wire
from sage_platform import subjects

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import Tracer

# As many of the engines that were considered are named.
_MOST_CANDIDATES = 8


class QueueSpans:
    """Tells how long requests waited, and where they were sent, or why they were not."""

    def __init__(self, tracer: Tracer, pool: str) -> None:
        self._tracer = tracer
        self._pool = pool
        # Time in the queue up to the last dispatch, of requests that may be dispatched again.
        self._told_us: dict[str, int] = {}

    def dispatched(self, payload: request_pb2.ClassifiedRequest, decision: Dispatch, policy: str) -> None:
        """A request was sent to an engine."""
        request = payload.request
        if not is_sampled(request.traceparent):
            return
        from opentelemetry.trace import SpanKind

        waited_us = max(0, decision.queue_us - self._told_us.get(request.request_id, 0))
        self._told_us[request.request_id] = decision.queue_us
        considered = decision.candidates[:_MOST_CANDIDATES]
        attributes = {
            **self._attributes(payload, policy),
            **attempt_attributes(decision.attempt, decision.engine_id, decision.tries),
            "sage.hedge": decision.hedge,
            "sage.candidates": " ".join(f"{name}={score:.3f}" for name, score, *_ in considered),
        }
        if decision.band is not None:
            attributes["sage.band"] = decision.band
        if decision.predicted_ttft is not None:
            attributes["sage.predicted_ttft_ms"] = decision.predicted_ttft * 1000
        name = "hedge" if decision.hedge else "queue" if decision.tries == 1 else "queue again"
        seconds = 0.0 if decision.hedge else waited_us / 1e6
        self._tracer.record(name, request.traceparent, seconds, SpanKind.CONSUMER, attributes)

    def refused(self, payload: request_pb2.ClassifiedRequest, decision: Refuse, policy: str) -> None:
        """A request was refused."""
        request = payload.request
        if is_sampled(request.traceparent):
            from opentelemetry.trace import SpanKind

            attributes = self._attributes(payload, policy)
            self._tracer.record("refuse", request.traceparent, 0.0, SpanKind.CONSUMER, attributes, decision.error.code)

    def ended(self, request_id: str) -> None:
        """The scheduler is done with a request."""
        self._told_us.pop(request_id, None)

    def _attributes(self, payload: request_pb2.ClassifiedRequest, policy: str) -> dict[str, str | bool | int | float]:
        request = payload.request
        tenant = tenant_from_wire(request.tenant)
        return {
            **request_attributes(request.request_id, request.correlation_id, tenant, request.endpoint),
            "gen_ai.request.model": payload.classification.model,
            "sage.pool": self._pool,
            "sage.policy": policy,
            "messaging.system": "nats",
            "messaging.destination.name": subjects.schedule(self._pool),
        }
