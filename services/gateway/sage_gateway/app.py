"""The HTTP application: the hot endpoints, and everything else in Starlette."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sage_common.errors import InternalError, InvalidRequestError, NotFoundError, SageError
from sage_gateway.admission import request_id_of, wanted_headers
from sage_gateway.asgi import App, Message, Receive, Scope, Send
from sage_gateway.dialects.error_shape import id_headers, shaped_error

Handler = Callable[[Request, Exception], Awaitable[Response]]

# A path that is not served is shown so far, and compared with those that are.
MAX_SHOWN_PATH = 200
# Where a request's id is in its scope.
_REQUEST_ID = "sage.request_id"


class GatewayApp:
    """Sends the hot paths straight to their endpoints: Starlette's router and middleware cost 5 µs more."""

    def __init__(self, hot: Mapping[str, App], rest: Starlette) -> None:
        self._hot = dict(hot)
        self._rest = rest

    @property
    def hot_paths(self) -> list[str]:
        """Paths that are served without Starlette, all of them by POST."""
        return list(self._hot)

    @property
    def routes(self) -> list[BaseRoute]:
        """All others."""
        return list(self._rest.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hot = self._hot.get(scope["path"]) if scope["type"] == "http" else None
        if hot is not None:
            await hot(scope, receive, send)
            return
        await self._rest(scope, receive, _with_request_id(scope, send) if scope["type"] == "http" else send)


def build_app(hot: Mapping[str, App], routes: Sequence[Route]) -> GatewayApp:
    """Put the application together; every error of it is in the shape of the API whose path was asked."""
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
    request_id = scope[_REQUEST_ID] = request_id_of(wanted_headers(scope))
    named = id_headers(scope["path"], request_id)

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *named]
        await send(message)

    return sending


async def _on_sage_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SageError)
    return _response(request, None, error, {})


def _on_http_error(paths: Sequence[str]) -> Handler:
    async def handler(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        path = request.url.path[:MAX_SHOWN_PATH]
        if error.status_code == 404:
            close = difflib.get_close_matches(path, paths, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; served here: {', '.join(paths)}"
            return _response(request, 404, NotFoundError(f"no such path: {path}{hint}"), headers)
        if error.status_code == 405:
            # Starlette keeps the methods in a set, whose order is another one in each process.
            allowed = ", ".join(sorted(headers.get("Allow", "another method").split(", ")))
            message = f"method {request.method} is not allowed for {path}; use {allowed}"
            return _response(request, 405, InvalidRequestError(message, code="method_not_allowed"), headers)
        return _response(request, error.status_code, InvalidRequestError(error.detail), headers)

    return handler


async def _on_failure(request: Request, _error: Exception) -> Response:
    return _response(request, 500, InternalError("the gateway failed to answer; its log says why"), {})


def _response(request: Request, status: int | None, error: SageError, headers: Mapping[str, str]) -> Response:
    """Return an error's answer; ``status`` where it is not the error's own."""
    own_status, named, body = shaped_error(request.scope["path"], error, request.scope[_REQUEST_ID])
    answer = Response(body, status_code=own_status if status is None else status, headers=headers)
    answer.raw_headers += named
    return answer
