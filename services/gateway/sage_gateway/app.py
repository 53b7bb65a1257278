"""The HTTP application: the hot endpoints, and everything else in Starlette."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client import headers as names
from sage_client.error_body import error_body, retry_after_of, status_of
from sage_common.errors import InternalError, InvalidRequestError, NotFoundError, SageError, UnavailableError
from sage_gateway.admission import request_id_of, wanted_headers
from sage_gateway.asgi import App, Message, Receive, Scope, Send
from sage_gateway.readiness import Readiness

Handler = Callable[[Request, Exception], Awaitable[Response]]

# A path that is not served is shown so far, and compared with those that are.
MAX_SHOWN_PATH = 200


class GatewayApp:
    """Sends the hot paths straight to their endpoints: Starlette's router and middleware cost 5 µs more."""

    def __init__(self, hot: Mapping[str, App], rest: App) -> None:
        self._hot = dict(hot)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hot = self._hot.get(scope["path"]) if scope["type"] == "http" else None
        if hot is not None:
            await hot(scope, receive, send)
            return
        await self._rest(scope, receive, _with_request_id(scope, send) if scope["type"] == "http" else send)


def cold_routes(readiness: Readiness, registry: CollectorRegistry) -> list[Route]:
    """Liveness, readiness and metrics."""

    async def health(_request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def ready(_request: Request) -> Response:
        reason = readiness.reason()
        if reason:
            raise UnavailableError(reason, code="not_ready")
        loading = readiness.loading
        answer = {"status": "ready", "loading": loading} if loading else {"status": "ready"}
        return Response(orjson.dumps(answer), media_type="application/json")

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return [Route("/health", health), Route("/ready", ready), Route("/metrics", metrics)]


def build_app(hot: Mapping[str, App], routes: Sequence[Route]) -> GatewayApp:
    """Put the application together; every error of it is in OpenAI's shape."""
    paths = [*hot, *(route.path for route in routes)]
    starlette = Starlette(
        routes=routes,
        exception_handlers={
            SageError: _on_sage_error,
            HTTPException: _on_http_error(paths),
            Exception: _on_failure,
        },
    )
    starlette.router.redirect_slashes = False
    return GatewayApp(hot, starlette)


def _with_request_id(scope: Scope, send: Send) -> Send:
    request_id = request_id_of(wanted_headers(scope)).encode()

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (names.REQUEST_ID.encode(), request_id)]
        await send(message)

    return sending


async def _on_sage_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SageError)
    headers = {}
    retry_after = retry_after_of(error)
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return _response(status_of(error), error, headers)


def _on_http_error(paths: Sequence[str]) -> Handler:
    async def handler(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        path = request.url.path[:MAX_SHOWN_PATH]
        if error.status_code == 404:
            close = difflib.get_close_matches(path, paths, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; served here: {', '.join(paths)}"
            return _response(404, NotFoundError(f"no such path: {path}{hint}"), headers)
        if error.status_code == 405:
            # Starlette keeps the methods in a set, whose order is another one in each process.
            allowed = ", ".join(sorted(headers.get("Allow", "another method").split(", ")))
            message = f"method {request.method} is not allowed for {path}; use {allowed}"
            return _response(405, InvalidRequestError(message, code="method_not_allowed"), headers)
        return _response(error.status_code, InvalidRequestError(error.detail), headers)

    return handler


async def _on_failure(_request: Request, _error: Exception) -> Response:
    return _response(500, InternalError("the gateway failed to answer; its log says why"), {})


def _response(status: int, error: SageError, headers: Mapping[str, str]) -> Response:
    return Response(error_body(error), status_code=status, headers=headers, media_type="application/json")
