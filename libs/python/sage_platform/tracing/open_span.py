"""A span that has not ended."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import Span, SpanContext, Status, StatusCode, format_span_id, format_trace_id

AttributeValue = str | bool | int | float
Attributes = Mapping[str, AttributeValue]

# OpenTelemetry's name for the class of an error.
ERROR_TYPE = "error.type"


class OpenSpan:
    """One step of a recorded request.

    Attributes:
        traceparent: the context to pass on, by which other spans become a part of this one.
    """

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _traceparent_of(span.get_span_context())

    def rename(self, name: str) -> None:
        """Give it the name that is known only now."""
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        """Add a moment, now."""
        self._span.add_event(name, attributes)

    def fail(self, code: str, message: str = "") -> None:
        """Say that it failed; ``code`` is the error's machine code."""
        self._span.set_attribute(ERROR_TYPE, code)
        self._span.set_status(Status(StatusCode.ERROR, message or code))

    def end(self, at_unix_ns: int | None = None) -> None:
        """End it, now or at the time given; a second end changes nothing."""
        if self._span.is_recording():
            self._span.end(at_unix_ns)


def _traceparent_of(context: SpanContext) -> str:
    trace_id, span_id = format_trace_id(context.trace_id), format_span_id(context.span_id)
    return f"00-{trace_id}-{span_id}-{context.trace_flags & 0xFF:02x}"
