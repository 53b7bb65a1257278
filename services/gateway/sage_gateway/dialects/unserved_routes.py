"""What the other vendors' APIs have below the paths that are served, refused in their words."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_common.errors import NotFoundError
from sage_gateway.credentials import Credentials

_METHODS = ["GET", "POST", "DELETE"]


def unserved_routes(credentials: Credentials) -> list[Route]:
    """Return routes for stored responses and for batches of messages."""

    async def stored_response(request: Request) -> Response:
        credentials.tenant(request.headers)
        name = request.path_params["rest"][:80]
        raise NotFoundError(
            f"no response {name!r}: responses are not stored here; their answer to POST /v1/responses is all there is",
            code="response_not_found",
        )

    async def below_messages(request: Request) -> Response:
        raise NotFoundError(
            f"{request.url.path[:80]} is not served here; /v1/messages and /v1/messages/count_tokens are"
        )

    return [
        Route("/v1/responses/{rest:path}", stored_response, methods=_METHODS),
        Route("/v1/messages/{rest:path}", below_messages, methods=_METHODS),
    ]
