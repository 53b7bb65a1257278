"""Traces HTTP requests: a span each, whose context their headers carry from here on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sage_client import headers as names
from sage_common.trace_context import tracing_as, usable_traceparent
from sage_gateway.asgi import App, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import OpenSpan, Tracer

_TRACEPARENT = names.TRACEPARENT.encode()
_TRACED = "/v1/"
_SERVER_ERRORS = 500
# Routes whose second segment is a word, not an id.
_TWO_WORDS = frozenset({"chat", "management", "messages"})


def traced_app(app: App, tracer: Tracer | None) -> App:
    """Return the application, traced where anything is."""
    return app if tracer is None else TracedHttp(app, tracer)


class TracedHttp:
    """Wraps the application while the mesh is traced. What is no request for work or an order passes untouched."""

    def __init__(self, app: App, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_TRACED):
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind

        headers = [pair for pair in scope["headers"] if pair[0] != _TRACEPARENT]
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == _TRACEPARENT), "")
        route = _route_of(scope["path"])
        span, traceparent = self._tracer.begin(
            f"{scope['method']} {route}",
            usable_traceparent(given),
            SpanKind.SERVER,
            {"http.request.method": scope["method"], "http.route": route, "url.path": scope["path"]},
        )
        scope = {**scope, "headers": [*headers, (_TRACEPARENT, traceparent.encode())]}
        with tracing_as(traceparent):
            if span is None:
                await self._app(scope, receive, send)
            else:
                await _recorded(self._app, scope, receive, send, span)


async def _recorded(app: App, scope: Scope, receive: Receive, send: Send, span: OpenSpan) -> None:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set({"http.response.status_code": status})
            if status >= _SERVER_ERRORS:
                span.fail(str(status))
        await send(message)

    try:
        await app(scope, receive, sending)
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()


def _route_of(path: str) -> str:
    """Return a path without what names one thing of many: ``/v1/jobs/job-17/events`` is ``/v1/jobs``."""
    parts = path.split("/", 4)
    return "/".join(parts[:4] if len(parts) > 3 and parts[2] in _TWO_WORDS else parts[:3])
