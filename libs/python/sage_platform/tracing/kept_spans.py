"""The latest ended spans of this process, for ``sage trace``."""

from __future__ import annotations

from collections import deque

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import format_trace_id

# The attributes by whose value a trace can be asked for.
REQUEST_ID = "sage.request_id"
CORRELATION_ID = "sage.correlation_id"
JOB_ID = "sage.job_id"
_IDS = (REQUEST_ID, CORRELATION_ID, JOB_ID)


class KeptSpans(SpanProcessor):
    """Keeps the last ``most`` spans."""

    def __init__(self, most: int) -> None:
        self._spans: deque[ReadableSpan] = deque(maxlen=most)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span that has ended."""
        self._spans.append(span)

    def find(self, wanted: str) -> list[ReadableSpan]:
        """Return the kept spans of every trace that has the id, or holds a span whose request, caller or job has it."""
        # A copy: spans end while it is read.
        spans = list(self._spans)
        traces = {_trace_id(span) for span in spans if _belongs_to(span, wanted)}
        return [span for span in spans if _trace_id(span) in traces]


def _belongs_to(span: ReadableSpan, wanted: str) -> bool:
    attributes = span.attributes or {}
    return format_trace_id(_trace_id(span)) == wanted or any(attributes.get(name) == wanted for name in _IDS)


def _trace_id(span: ReadableSpan) -> int:
    context = span.context
    return 0 if context is None else context.trace_id
