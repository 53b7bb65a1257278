"""Lists in OpenAI's shape, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request

from sage_gateway.openapi.answers import Paged
from sage_gateway.query_parameters import Choice, Count, Text

_AFTER = Text("after", "id of the last one that the caller has")
_ORDER = Choice("order", ("desc", "asc"), "by when they were made")
D = TypeVar("D", bound=Mapping[str, Any])


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


class PageParameters(NamedTuple):
    """Parameters of a list's query."""

    limit: Count
    after: Text = _AFTER
    order: Choice = _ORDER

    def of(self, request: Request) -> Page:
        """Return what is asked for. Raises InvalidRequestError; ``param`` names the parameter."""
        return Page(self.after.of(request), self.limit.of(request), self.order.of(request) == "desc")


def page_parameters(*, default_limit: int, most: int) -> PageParameters:
    """Return the parameters of a list that gives at most so many at a time."""
    return PageParameters(Count("limit", "objects", default_limit, least=1, most=most))


def list_document(documents: list[D], *, has_more: bool) -> Paged[D]:
    """Return a page as OpenAI writes it."""
    return {
        "object": "list",
        "data": documents,
        "first_id": documents[0]["id"] if documents else None,
        "last_id": documents[-1]["id"] if documents else None,
        "has_more": has_more,
    }
