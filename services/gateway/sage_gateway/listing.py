"""Lists in OpenAI's shape, page by page."""

from __future__ import annotations

from typing import Any, NamedTuple

from starlette.requests import Request

from sage_common.errors import InvalidRequestError
from sage_gateway.query_parameters import count

_ORDERS = ("asc", "desc")


class Page(NamedTuple):
    """What of a list is asked for; ``after`` is the id of the last one that the caller has, empty for the beginning."""

    after: str
    limit: int
    descending: bool

    def ids(self, ascending: list[str]) -> list[str]:
        """Return the ids behind ``after``, in the order that is asked for; ids sort by when they were made."""
        if self.descending:
            return [one for one in reversed(ascending) if not self.after or one < self.after]
        return [one for one in ascending if one > self.after]


def read_page(request: Request, *, default_limit: int, most: int, known: tuple[str, ...] = ()) -> Page:
    """Read the query of a list.

    Args:
        known: parameters that the caller reads itself.

    Raises:
        InvalidRequestError: a parameter has another value, or is not known; ``param`` names it.
    """
    query = request.query_params
    for name in query:
        if name not in ("after", "limit", "order", *known):
            raise InvalidRequestError(
                f"{name[:80]!r} is not a parameter that is known here; leave it out",
                code="unknown_parameter",
                param=name[:80],
            )
    limit = count(request, "limit", "objects", default_limit)
    if not 1 <= limit <= most:
        raise InvalidRequestError(f"limit is {limit}; write a number from 1 to {most}", param="limit")
    order = query.get("order", "desc")
    if order not in _ORDERS:
        raise InvalidRequestError(f"order is {order[:40]!r}; write asc or desc", param="order")
    return Page(query.get("after", ""), limit, order == "desc")


def list_document(documents: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page as OpenAI writes it."""
    return {
        "object": "list",
        "data": documents,
        "first_id": documents[0]["id"] if documents else None,
        "last_id": documents[-1]["id"] if documents else None,
        "has_more": has_more,
    }
