"""Traces gRPC: a span for each call that a server takes, and the trace context in the metadata of those it makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from sage_common.trace_context import trace_from_here, usable_traceparent
from sage_platform.grpc_access import TRACEPARENT, Method, wrapped

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import OpenSpan, Tracer

_SAGE = "/sage."
# Reading traces is not traced.
_UNTRACED = "/sage.trace."


class TraceInterceptor(aio.ServerInterceptor):
    """Makes a span of each call of SAGE's own services.

    Attributes:
        tracer: None while nothing is traced.
    """

    def __init__(self) -> None:
        self.tracer: Tracer | None = None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        tracer, path = self.tracer, handler_call_details.method
        if tracer is None or handler is None or not path.startswith(_SAGE) or path.startswith(_UNTRACED):
            return handler
        given = traceparent_in(handler_call_details.invocation_metadata)
        return wrapped(handler, _traced(tracer, path, given), _traced_stream(tracer, path, given))


def traceparent_in(metadata: Any) -> str:
    """Return the trace context that a call came with; empty for none."""
    found = next((value for key, value in metadata or () if key == TRACEPARENT and isinstance(value, str)), "")
    return usable_traceparent(found)


def _begin(tracer: Tracer, path: str, given: str) -> OpenSpan | None:
    """Begin the span of a call, which has a task of its own; None where it is not recorded."""
    from opentelemetry.trace import SpanKind

    service, _, method = path[1:].partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    span, traceparent = tracer.begin(path[1:], given, SpanKind.SERVER, attributes)
    trace_from_here(traceparent)
    return span


@contextmanager
def _recorded(tracer: Tracer, path: str, given: str, context: aio.ServicerContext[Any, Any]) -> Iterator[None]:
    """Record a call for as long as the context lasts, with the status that it fails with."""
    span = _begin(tracer, path, given)
    try:
        yield
    except BaseException:
        _fail(span, context)
        raise
    finally:
        if span is not None:
            span.end()


def _traced(tracer: Tracer, path: str, given: str) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        async def call(request: Any, context: Any) -> Any:
            with _recorded(tracer, path, given, context):
                return await method(request, context)

        return call

    return wrap


def _traced_stream(tracer: Tracer, path: str, given: str) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            with _recorded(tracer, path, given, context):
                async for item in method(request, context):
                    yield item

        return call

    return wrap


def _fail(span: OpenSpan | None, context: aio.ServicerContext[Any, Any]) -> None:
    if span is not None:
        code = context.code()
        span.fail(code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN")
