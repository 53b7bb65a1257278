"""Where an order comes from: a page of any site can have a browser on this machine post to a gateway without keys."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from sage_common.errors import PermissionDeniedError
from sage_gateway.credentials import Credentials


def refuse_foreign_page(request: Request) -> None:
    """Raise PermissionDeniedError for an order that a page of another origin sends."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise PermissionDeniedError(f"orders from a page of {origin} are not taken", code="cross_origin")


def admit_order(request: Request, credentials: Credentials) -> None:
    """Refuse callers who are no operators. Raises PermissionDeniedError, UnauthenticatedError."""
    refuse_foreign_page(request)
    credentials.operator(request.headers)
