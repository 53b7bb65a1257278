"""Records that operators keep over REST: listed, shown, set and removed, alike for every kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client.management.operator_records import OperatorRecords
from sage_common.errors import NotFoundError
from sage_common.name_list import shown_names
from sage_common.tenants import checked
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.openapi.operation import routes_from
from sage_gateway.order_bodies import OrderBodies
from sage_gateway.order_origin import admit_order
from sage_gateway.record_kinds import RecordKind

R = TypeVar("R", bound=BaseModel)


class RecordRoutes(Generic[R]):
    """Serves the records of one kind.

    Args:
        show: returns one with more about it than is kept; by default, what is kept.
    """

    def __init__(
        self,
        kind: RecordKind[R],
        records: OperatorRecords[R],
        credentials: Credentials,
        bodies: OrderBodies,
        show: Callable[[str], Awaitable[BaseModel]] | None = None,
    ) -> None:
        self._kind = kind
        self._records = records
        self._credentials = credentials
        self._bodies = bodies
        self._show_one = show

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        handlers = (self._list, self._show, self._set, self._remove)
        return routes_from(zip(self._kind.operations, handlers, strict=True))

    async def _list(self, request: Request) -> Response:
        self._credentials.operator(request.headers)
        return json_answer({"object": "list", "data": [_shown(record) for record in await self._records.all()]})

    async def _show(self, request: Request) -> Response:
        self._credentials.operator(request.headers)
        name = request.path_params["name"]
        if self._show_one is not None:
            return json_answer(_shown(await self._show_one(name)))
        records = await self._records.all()
        for record in records:
            if getattr(record, self._kind.key) == name:
                return json_answer(_shown(record))
        known = shown_names(getattr(record, self._kind.key) for record in records) or "none"
        noun = self._kind.noun
        code = f"no_such_{noun.replace(' ', '_')}"
        raise NotFoundError(f"no {noun} {name[:80]!r} is kept; there are: {known}", code=code)

    async def _set(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        name = request.path_params["name"]
        order = await self._bodies.read(request, self._kind.order)
        values = {**order.model_dump(exclude_unset=True), self._kind.key: name}
        return json_answer(_shown(await self._records.put(checked(self._kind.kind, values))))

    async def _remove(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        return json_answer(_shown(await self._records.remove(request.path_params["name"])))


def _shown(record: BaseModel) -> dict[str, object]:
    return record.model_dump(mode="json", exclude_none=True)
