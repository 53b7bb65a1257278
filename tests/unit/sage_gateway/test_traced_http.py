"""What the tracing of HTTP does to a request, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from sage_common.trace_context import current_traceparent
from sage_gateway.asgi import App, Receive, Scope, Send
from sage_gateway.traced_http import traced_app
from sage_platform.tracing.kept_spans import KeptSpans
from sage_platform.tracing.tracer import Tracer

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Inner:
    """The application behind it: answers with a status, or raises."""

    def __init__(self, status: int = 200, raises: Exception | None = None) -> None:
        self.status = status
        self.raises = raises
        self.headers: list[tuple[bytes, bytes]] = []
        self.current = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = list(scope.get("headers", []))
        self.current = current_traceparent()
        if self.raises is not None:
            raise self.raises
        await send({"type": "http.response.start", "status": self.status, "headers": []})


async def pass_through(
    inner: App, *, path: str = "/v1/chat/completions", given: str = GIVEN, ratio: float = 1.0
) -> list[Any]:
    kept = KeptSpans(10)
    app = traced_app(inner, Tracer("gateway", "gateway-1", ratio, [kept]))
    headers = [(b"host", b"here"), *([(b"traceparent", given.encode())] if given else [])]

    async def nothing(*_: Any) -> Any:
        return None

    await app({"type": "http", "method": "POST", "path": path, "headers": headers}, nothing, nothing)
    return list(kept._spans)


async def test_the_application_sees_the_span_as_its_caller() -> None:
    inner = Inner()
    (span,) = await pass_through(inner)
    (sent,) = (value.decode() for name, value in inner.headers if name == b"traceparent")
    assert sent[3:35] == GIVEN[3:35]
    assert int(sent[36:52], 16) == span.context.span_id
    assert inner.current == sent
    assert (b"host", b"here") in inner.headers
    assert current_traceparent() == ""


@pytest.mark.parametrize("given", ["", "nonsense", GIVEN[:-2] + "00"])
async def test_what_is_not_recorded_has_a_context_all_the_same(given: str) -> None:
    inner = Inner()
    assert await pass_through(inner, given=given, ratio=0.0) == []
    (sent,) = (value.decode() for name, value in inner.headers if name == b"traceparent")
    assert sent.endswith("-00")


@pytest.mark.parametrize("path", ["/health", "/metrics", "/"])
async def test_probes_pass_untouched(path: str) -> None:
    inner = Inner()
    assert await pass_through(inner, path=path) == []
    assert (b"traceparent", GIVEN.encode()) in inner.headers


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/embeddings", "/v1/embeddings"),
        ("/v1/responses/resp_1/input_items", "/v1/responses"),
        ("/v1/management/jobs/job-1/events", "/v1/management/jobs"),
    ],
)
async def test_a_span_is_named_by_its_route_without_the_id_of_one_thing(path: str, route: str) -> None:
    (span,) = await pass_through(Inner(), path=path)
    assert span.name == f"POST {route}"
    assert span.attributes["http.route"] == route


@pytest.mark.parametrize(("status", "failed"), [(200, False), (404, False), (503, True)])
async def test_an_error_of_the_server_is_one_of_the_span(status: int, failed: bool) -> None:
    (span,) = await pass_through(Inner(status))
    assert span.attributes["http.response.status_code"] == status
    assert (not span.status.is_ok and span.status.status_code.name == "ERROR") is failed


async def test_an_application_that_breaks_still_ends_its_span() -> None:
    kept = KeptSpans(10)
    app = traced_app(Inner(raises=RuntimeError("broke")), Tracer("gateway", "gateway-1", 1.0, [kept]))

    async def nothing(*_: Any) -> Any:
        return None

    with pytest.raises(RuntimeError, match="broke"):
        await app({"type": "http", "method": "POST", "path": "/v1/x", "headers": []}, nothing, nothing)
    (span,) = kept._spans
    assert (span.attributes or {})["error.type"] == "RuntimeError"


def test_without_a_tracer_nothing_is_wrapped() -> None:
    inner = Inner()
    assert traced_app(inner, None) is inner
