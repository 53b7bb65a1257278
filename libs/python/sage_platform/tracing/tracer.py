"""Makes spans, for the share of the requests that is recorded. Loads OpenTelemetry's SDK."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)

from sage_common.trace_context import is_sampled, unrecorded_traceparent, usable_traceparent
from sage_platform.tracing.open_span import Attributes, OpenSpan

__all__ = ["Attributes", "OpenSpan", "SpanKind", "Tracer"]

_NO_ATTRIBUTES: Final[Attributes] = {}


class Tracer:
    """The spans of one process.

    Whether a request is recorded is decided once, where its trace begins, and travels in the flags of its traceparent:
    everything else here is called for recorded requests only.

    Args:
        ratio: share of the requests without a traceparent that are recorded.
        processors: what is done with each span that has ended.
    """

    def __init__(self, service: str, instance: str, ratio: float, processors: Sequence[SpanProcessor]) -> None:
        self._ratio = ratio
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"sage-{service}"}
        resource = Resource.create({**named, "service.namespace": "sage", "service.instance.id": instance})
        # What comes here is to be recorded; the decision was made before.
        self._provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
        for processor in processors:
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("sage")

    def begin(
        self, name: str, traceparent: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes = _NO_ATTRIBUTES
    ) -> tuple[OpenSpan | None, str]:
        """Take a request in: decide whether it is recorded where its caller's ``traceparent``, "" for none, leaves it.

        Returns:
            Its span, None where it is not recorded, and the traceparent to pass on.
        """
        if traceparent and not is_sampled(traceparent):
            return None, traceparent
        if not traceparent and random.random() >= self._ratio:
            return None, unrecorded_traceparent()
        span = self.start(name, traceparent, kind, attributes)
        return span, span.traceparent

    def start(
        self, name: str, traceparent: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes = _NO_ATTRIBUTES
    ) -> OpenSpan:
        """Start a span that is part of ``traceparent``'s; "" starts a trace."""
        return OpenSpan(self._tracer.start_span(name, _parent(traceparent), kind, attributes))

    def record(
        self,
        name: str,
        traceparent: str,
        seconds: float,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = _NO_ATTRIBUTES,
        error: str = "",
    ) -> None:
        """Record a step that has just ended and took ``seconds``; ``error`` is the code of what it failed with."""
        now = time.time_ns()
        began = now - int(seconds * 1e9)
        span = OpenSpan(self._tracer.start_span(name, _parent(traceparent), kind, attributes, start_time=began))
        if error:
            span.fail(error)
        span.end(now)

    def flush(self) -> None:
        """Send to the collector what waits for it. Blocks."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what waits, as far as the collector takes it in time, and stop. Blocks."""
        self._provider.shutdown()


def _parent(traceparent: str) -> Context:
    """Return the context of a traceparent; of none, and of what is none, an empty one, whose span begins a trace."""
    if not usable_traceparent(traceparent):
        return Context()
    context = SpanContext(
        trace_id=int(traceparent[3:35], 16),
        span_id=int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(traceparent[53:55], 16)),
    )
    return set_span_in_context(NonRecordingSpan(context), Context())
