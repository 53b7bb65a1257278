"""What the other vendors' APIs have below the paths that are served, refused in their words."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_common.errors import NotFoundError

_METHODS = ["GET", "POST", "DELETE"]


def unserved_routes() -> list[Route]:
    """Return a route for batches of messages and the like."""

    async def below_messages(request: Request) -> Response:
        raise NotFoundError(
            f"{request.url.path[:80]} is not served here; /v1/messages and /v1/messages/count_tokens are"
        )

    return [Route("/v1/messages/{rest:path}", below_messages, methods=_METHODS, include_in_schema=False)]
