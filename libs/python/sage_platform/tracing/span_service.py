"""``sage.trace.v1``: the spans that this process has kept, for operators."""

from __future__ import annotations

from typing import Any

from grpc import aio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import format_span_id, format_trace_id

from sage.trace.v1 import trace_pb2
from sage_platform.grpc_access import for_operators
from sage_platform.tracing.kept_spans import KeptSpans
from sage_platform.tracing.open_span import ERROR_TYPE


class TraceServicer:
    """Implements ``sage.trace.v1.TraceService``."""

    def __init__(self, kept: KeptSpans, service: str, instance: str) -> None:
        self._kept = kept
        self._service = service
        self._instance = instance

    @for_operators
    async def FindSpans(  # noqa: N802
        self, request: trace_pb2.FindSpansRequest, context: aio.ServicerContext[Any, Any]
    ) -> trace_pb2.FindSpansResponse:
        spans = [self._to_wire(span) for span in self._kept.find(request.id)]
        return trace_pb2.FindSpansResponse(spans=spans)

    def _to_wire(self, span: ReadableSpan) -> trace_pb2.Span:
        began, ended = span.start_time or 0, span.end_time or 0
        context, parent, attributes = span.context, span.parent, span.attributes or {}
        return trace_pb2.Span(
            trace_id="" if context is None else format_trace_id(context.trace_id),
            span_id="" if context is None else format_span_id(context.span_id),
            parent_id="" if parent is None else format_span_id(parent.span_id),
            service=self._service,
            instance=self._instance,
            name=span.name,
            start_unix_ns=began,
            duration_ns=max(0, ended - began),
            attributes={name: str(value) for name, value in attributes.items()},
            events=[
                trace_pb2.SpanEvent(
                    name=event.name,
                    offset_ns=event.timestamp - began,
                    attributes={name: str(value) for name, value in (event.attributes or {}).items()},
                )
                for event in span.events
            ],
            error=str(attributes.get(ERROR_TYPE, "")),
        )
