"""The span of a recorded request, from its acceptance by an edge to its last frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sage.inference.v1 import request_pb2
from sage_common.errors import SageError
from sage_common.trace_context import is_sampled
from sage_mesh.genai_attributes import FIRST_TOKEN, operation_of, request_attributes, usage_attributes
from sage_mesh.reply import Reply, ReplyHead

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import OpenSpan, Tracer


class UnrecordedRequest:
    """Stands for the span of a request that is not recorded."""

    def on_head(self, head: ReplyHead) -> None:
        """An attempt has begun to answer."""

    def on_resubmitted(self, event: str, engine_id: str | None, reason: str) -> None:
        """An attempt has ended early, and the request, or what is left of it, was submitted again."""

    def fail(self, error: SageError) -> None:
        """The request ends with an error."""

    def end(self, reply: Reply) -> None:
        """The request has ended."""


UNRECORDED: Final = UnrecordedRequest()


class RequestSpan(UnrecordedRequest):
    """Tells what becomes of a request: its first token, what broke and was submitted again, how it ended."""

    def __init__(self, span: OpenSpan, operation: str) -> None:
        self._span = span
        self._operation = operation

    def on_head(self, head: ReplyHead) -> None:
        self._span.rename(f"{self._operation} {head.model}")
        self._span.set({"gen_ai.request.model": head.model, "sage.engine": head.engine_id})
        self._span.event(FIRST_TOKEN, {"sage.engine": head.engine_id, "sage.tries": head.tries})

    def on_resubmitted(self, event: str, engine_id: str | None, reason: str) -> None:
        self._span.event(event, {"sage.engine": engine_id or "", "sage.reason": reason})

    def fail(self, error: SageError) -> None:
        # Its message may quote the request.
        self._span.fail(error.code)

    def end(self, reply: Reply) -> None:
        if (head := reply.begun_head) is not None:
            self._span.set({"sage.tries": head.tries, "sage.queue_ms": head.queue_ms})
        self._span.set(usage_attributes(reply.usage))
        self._span.end()


def open_request_span(tracer: Tracer | None, sent: request_pb2.InferenceRequest) -> UnrecordedRequest:
    """Begin the span of a request that is about to be submitted, and set the traceparent that it travels with."""
    if tracer is None or (sent.traceparent and not is_sampled(sent.traceparent)):
        return UNRECORDED
    attributes = request_attributes(sent.request_id, sent.correlation_id, sent.tenant, sent.endpoint)
    operation = operation_of(sent.endpoint)
    span, sent.traceparent = tracer.begin(operation, sent.traceparent, attributes=attributes)
    return UNRECORDED if span is None else RequestSpan(span, operation)
