"""The span of one attempt of a recorded request: an engine's work at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sage.inference.v1 import engine_pb2, frame_pb2
from sage_common.errors import SageError
from sage_common.trace_context import is_sampled
from sage_mesh.genai_attributes import (
    FIRST_TOKEN,
    attempt_attributes,
    operation_of,
    request_attributes,
    usage_attributes,
)
from sage_mesh.wire.frames import usage_from_wire
from sage_mesh.wire.requests import attempt_from_wire, tenant_from_wire
from sage_platform import subjects

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import OpenSpan, Tracer


class UnrecordedAttempt:
    """Stands for the span of an attempt whose request is not recorded.

    Attributes:
        traceparent: what the engine is called with; empty for that of the request.
    """

    traceparent = ""

    def on_first_token(self) -> None:
        """The engine has begun to answer."""

    def on_report(self, event: engine_pb2.ReportEvent, usage: frame_pb2.Usage, error: SageError | None) -> None:
        """The scheduler is told what has become of the attempt."""


UNRECORDED: Final = UnrecordedAttempt()


class AttemptSpan(UnrecordedAttempt):
    """Tells when an engine began to answer, and what became of it."""

    def __init__(self, span: OpenSpan) -> None:
        self._span = span
        self.traceparent = span.traceparent

    def on_first_token(self) -> None:
        self._span.event(FIRST_TOKEN)

    def on_report(self, event: engine_pb2.ReportEvent, usage: frame_pb2.Usage, error: SageError | None) -> None:
        if event == engine_pb2.REPORT_EVENT_FIRST_TOKEN:
            return
        self._span.set(usage_attributes(usage_from_wire(usage)))
        if error is not None:
            self._span.fail(error.code)
        elif event == engine_pb2.REPORT_EVENT_CANCELLED:
            self._span.event("cancelled")
        self._span.end()


def open_attempt_span(tracer: Tracer | None, dispatch: frame_pb2.Dispatch, service: str) -> UnrecordedAttempt:
    """Begin the span of an attempt."""
    request = dispatch.request
    if tracer is None or not is_sampled(request.traceparent):
        return UNRECORDED
    from opentelemetry.trace import SpanKind

    model = dispatch.classification.model
    tenant = tenant_from_wire(request.tenant)
    attributes = {
        **request_attributes(request.request_id, request.correlation_id, tenant, request.endpoint),
        **attempt_attributes(attempt_from_wire(dispatch.attempt), dispatch.engine_id, dispatch.tries),
        "gen_ai.provider.name": service,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": dispatch.classification.streaming,
        "messaging.system": "nats",
        "messaging.destination.name": subjects.dispatch(dispatch.engine_id),
    }
    name = f"{operation_of(request.endpoint)} {model} on {dispatch.engine_id}"
    return AttemptSpan(tracer.start(name, request.traceparent, SpanKind.CLIENT, attributes))
