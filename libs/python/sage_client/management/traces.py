"""The traces that the services have kept, gathered from all of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from grpc.aio import Channel

from sage.trace.v1 import trace_pb2, trace_pb2_grpc
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_client.wait_notice import OnWait
from sage_common.errors import ErrorKind, NotFoundError, SageError, UnavailableError

CALL_SECONDS = 5.0
# Any number of requests may have the same caller's id.
MOST_TRACES = 20
_PASSED_OVER = (ErrorKind.UNIMPLEMENTED, ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE_EXCEEDED)


@dataclass(frozen=True, slots=True)
class SpanEventView:
    """A moment within a span, ``offset_ms`` after its beginning."""

    name: str
    offset_ms: float
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanView:
    """One step of a request.

    Attributes:
        parent_id: empty for none.
        start_unix_ns: by the clock of its machine, nanoseconds since 1970-01-01 UTC.
        error: code of what it failed with; empty for none.
    """

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    instance: str
    name: str
    start_unix_ns: int
    duration_ms: float
    attributes: dict[str, str]
    events: tuple[SpanEventView, ...]
    error: str


class TraceManagement:
    """Reads traces.

    Args:
        token: API key or mesh token that the services are called with; empty for none.
        on_wait: called with which service a call waits for, when that takes longer than two seconds.
    """

    def __init__(self, list_instances: ListInstances, token: str = "", on_wait: OnWait | None = None) -> None:
        self._calls = ServiceCalls(list_instances, token, on_wait)

    async def find(self, wanted: str) -> list[list[SpanView]]:
        """Return the spans of each trace that an id belongs to, as they began; the latest trace is the last.

        Args:
            wanted: a trace id, a request id, a caller's id for requests, or the id of a job.

        Raises:
            NotFoundError: no service has kept a span of it; the message says what to do.
            UnavailableError: no service answers.
            PermissionDeniedError, UnauthenticatedError: the token is no operator's.
        """
        traces: dict[str, dict[str, SpanView]] = {}
        for span in await self._ask(wanted):
            traces.setdefault(span.trace_id, {})[span.span_id] = span
        # What knows a request by its trace alone: another service's call within it, for one.
        for trace_id in [*traces][-MOST_TRACES:]:
            if trace_id != wanted:
                traces[trace_id] |= {span.span_id: span for span in await self._ask(trace_id)}
        if not traces:
            raise NotFoundError(
                f"no service has kept a span of {wanted!r}: its request was not sampled, or was too long ago "
                "(telemetry.sample_ratio, telemetry.kept_spans); `sage explain` shows what the scheduler decided"
            )
        found = [sorted(spans.values(), key=lambda span: span.start_unix_ns) for spans in traces.values()]
        return sorted(found, key=lambda spans: spans[0].start_unix_ns)[-MOST_TRACES:]

    async def _ask(self, wanted: str) -> list[SpanView]:
        request = trace_pb2.FindSpansRequest(id=wanted)

        async def ask(channel: Channel) -> trace_pb2.FindSpansResponse:
            stub = trace_pb2_grpc.TraceServiceStub(channel)  # type: ignore[no-untyped-call]
            answer: trace_pb2.FindSpansResponse = await stub.FindSpans(request, timeout=CALL_SECONDS)
            return answer

        instances = await self._calls.all_instances()
        if not instances:
            raise UnavailableError("no service is registered; `sage status` shows what runs, `sage up` starts it")
        outcomes = await asyncio.gather(*(self._calls.at(one, ask) for one in instances), return_exceptions=True)
        answers = [outcome for outcome in outcomes if isinstance(outcome, trace_pb2.FindSpansResponse)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for failure in failures:
            # One that has died is passed over, and so is one that traces nothing.
            if not isinstance(failure, SageError) or failure.kind not in _PASSED_OVER:
                raise failure
        if not answers and all(isinstance(f, SageError) and f.kind is ErrorKind.UNIMPLEMENTED for f in failures):
            raise NotFoundError(
                "nothing is traced; start the mesh with SAGE_TELEMETRY_SAMPLE_RATIO=1, or with "
                "SAGE_TELEMETRY_OTLP_ENDPOINT. `sage explain` shows what the scheduler decided"
            )
        return [_view(span) for answer in answers for span in answer.spans]


def _view(span: trace_pb2.Span) -> SpanView:
    return SpanView(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        service=span.service,
        instance=span.instance,
        name=span.name,
        start_unix_ns=span.start_unix_ns,
        duration_ms=span.duration_ns / 1e6,
        attributes=dict(span.attributes),
        events=tuple(SpanEventView(e.name, e.offset_ns / 1e6, dict(e.attributes)) for e in span.events),
        error=span.error,
    )
