"""API keys over REST: ``/v1/management/keys``, for operators."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client.management.api_keys import KeyManagement, KeyView, NewKey
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.openapi.answers import Listed
from sage_gateway.openapi.operation import Access, operation, routes_of
from sage_gateway.order_bodies import Order, OrderBodies
from sage_gateway.order_origin import admit_order
from sage_gateway.query_parameters import Flag

_ROOT = "/v1/management/keys"
_ONE = f"{_ROOT}/{{key_id}}"
_FORGET = Flag("forget", "also remove what is kept of it")


class KeyOrder(Order):
    """Body of ``POST /v1/management/keys``."""

    tenant: str
    operator: bool = False
    label: str = ""
    lifetime_seconds: int = Field(0, ge=0, lt=2**63)


class RotationOrder(Order):
    """Body of ``POST /v1/management/keys/{id}/rotate``, which may be left out."""

    grace_seconds: int = Field(0, ge=0, lt=2**63)


@dataclass(frozen=True, slots=True)
class MadeKey(KeyView):
    """A key, and its secret, which is shown this once."""

    secret: str


class KeyRoutes:
    """Serves operators."""

    def __init__(self, keys: KeyManagement, credentials: Credentials, body_timeout_seconds: float) -> None:
        self._keys = keys
        self._credentials = credentials
        self._bodies = OrderBodies(body_timeout_seconds)

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("GET", _ROOT, "List API keys", answer=Listed[KeyView], access=Access.OPERATOR)
    async def _list(self, request: Request) -> Response:
        self._credentials.operator(request.headers)
        return json_answer({"object": "list", "data": [asdict(key) for key in await self._keys.list_keys()]})

    @operation("POST", _ROOT, "Make an API key", body=KeyOrder, answer=MadeKey, status=201, access=Access.OPERATOR)
    async def _create(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, KeyOrder)
        made = await self._keys.create(
            order.tenant, operator=order.operator, label=order.label, lifetime_seconds=order.lifetime_seconds
        )
        return _new(made)

    @operation(
        "POST",
        f"{_ONE}/rotate",
        "Make a key in place of another",
        body=RotationOrder,
        body_optional=True,
        answer=MadeKey,
        status=201,
        access=Access.OPERATOR,
    )
    async def _rotate(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, RotationOrder, optional=True)
        return _new(await self._keys.rotate(request.path_params["key_id"], grace_seconds=order.grace_seconds))

    @operation("DELETE", _ONE, "Revoke an API key", answer=KeyView, query=(_FORGET,), access=Access.OPERATOR)
    async def _revoke(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        key = await self._keys.revoke(request.path_params["key_id"], forget=_FORGET.of(request))
        return json_answer(asdict(key))


def _new(made: NewKey) -> Response:
    """Answer with a key that is shown this once, and kept by no cache."""
    answer = json_answer(asdict(MadeKey(**asdict(made.key), secret=made.secret)), 201)
    answer.headers["cache-control"] = "no-store"
    return answer
