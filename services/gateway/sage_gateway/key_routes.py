"""API keys over REST: ``/v1/management/keys``, for operators."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client.management.api_keys import KeyManagement, NewKey
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.order_bodies import Order, OrderBodies
from sage_gateway.order_origin import admit_order
from sage_gateway.query_parameters import flag


class KeyOrder(Order):
    """Body of ``POST /v1/management/keys``."""

    tenant: str
    operator: bool = False
    label: str = ""
    lifetime_seconds: int = Field(0, ge=0, lt=2**63)


class RotationOrder(Order):
    """Body of ``POST /v1/management/keys/{id}/rotate``, which may be left out."""

    grace_seconds: int = Field(0, ge=0, lt=2**63)


class KeyRoutes:
    """Serves operators."""

    def __init__(self, keys: KeyManagement, credentials: Credentials, body_timeout_seconds: float) -> None:
        self._keys = keys
        self._credentials = credentials
        self._bodies = OrderBodies(body_timeout_seconds)

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        root = "/v1/management/keys"
        one = f"{root}/{{key_id}}"
        return [
            Route(root, self._list, methods=["GET"]),
            Route(root, self._create, methods=["POST"]),
            Route(f"{one}/rotate", self._rotate, methods=["POST"]),
            Route(one, self._revoke, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        self._credentials.operator(request.headers)
        return json_answer({"object": "list", "data": [asdict(key) for key in await self._keys.list_keys()]})

    async def _create(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, KeyOrder)
        made = await self._keys.create(
            order.tenant, operator=order.operator, label=order.label, lifetime_seconds=order.lifetime_seconds
        )
        return _new(made)

    async def _rotate(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, RotationOrder, optional=True)
        return _new(await self._keys.rotate(request.path_params["key_id"], grace_seconds=order.grace_seconds))

    async def _revoke(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        key = await self._keys.revoke(request.path_params["key_id"], forget=flag(request, "forget"))
        return json_answer(asdict(key))


def _new(made: NewKey) -> Response:
    """Answer with a key that is shown this once, and kept by no cache."""
    answer = json_answer({**asdict(made.key), "secret": made.secret}, 201)
    answer.headers["cache-control"] = "no-store"
    return answer
