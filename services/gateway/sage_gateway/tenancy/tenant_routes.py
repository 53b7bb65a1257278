"""Tenants, prices and usage over REST: below ``/v1/management``, for operators."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client.management.tenants import TenantManagement, UsagePeriod
from sage_client.management.usage_csv import usage_csv
from sage_common.errors import InvalidRequestError
from sage_common.prices import Price
from sage_common.tenants import Tenant, checked
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.order_bodies import OrderBodies
from sage_gateway.order_origin import admit_order
from sage_gateway.query_parameters import sequence


class TenantOrder(Tenant):
    """Body of ``PUT /v1/management/tenants/{name}``; the path names the tenant."""

    name: str = ""


class PriceOrder(Price):
    """Body of ``PUT /v1/management/prices/{model}``; the path names the model."""

    model: str = ""


class TenantRoutes:
    """Serves operators."""

    def __init__(self, tenants: TenantManagement, credentials: Credentials, body_timeout_seconds: float) -> None:
        self._tenants = tenants
        self._credentials = credentials
        self._bodies = OrderBodies(body_timeout_seconds)

    def routes(self) -> list[Route]:
        """Return the routes to mount. Names of tenants and models may have slashes."""
        tenants, prices = "/v1/management/tenants", "/v1/management/prices"
        return [
            Route(tenants, self._list_tenants, methods=["GET"]),
            Route(f"{tenants}/{{name:path}}", self._set_tenant, methods=["PUT"]),
            Route(f"{tenants}/{{name:path}}", self._remove_tenant, methods=["DELETE"]),
            Route(prices, self._list_prices, methods=["GET"]),
            Route(f"{prices}/{{name:path}}", self._set_price, methods=["PUT"]),
            Route(f"{prices}/{{name:path}}", self._remove_price, methods=["DELETE"]),
            Route("/v1/management/usage", self._usage, methods=["GET"]),
        ]

    async def _list_tenants(self, request: Request) -> Response:
        self._credentials.operator(request.headers)
        return _listed([_shown(tenant) for tenant in await self._tenants.list_tenants()])

    async def _set_tenant(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, TenantOrder)
        values = {**order.model_dump(exclude_unset=True), "name": request.path_params["name"]}
        return json_answer(_shown(await self._tenants.set_tenant(checked(Tenant, values))))

    async def _remove_tenant(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        return json_answer(_shown(await self._tenants.remove_tenant(request.path_params["name"])))

    async def _list_prices(self, request: Request) -> Response:
        self._credentials.operator(request.headers)
        return _listed([_shown(price) for price in await self._tenants.list_prices()])

    async def _set_price(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, PriceOrder)
        values = {**order.model_dump(exclude_unset=True), "model": request.path_params["name"]}
        return json_answer(_shown(await self._tenants.set_price(checked(Price, values))))

    async def _remove_price(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        return json_answer(_shown(await self._tenants.remove_price(request.path_params["name"])))

    async def _usage(self, request: Request) -> Response:
        self._credentials.operator(request.headers)
        asked = request.query_params
        by = asked.get("by", "all")
        if by not in get_args(UsagePeriod):
            raise InvalidRequestError(f"by is {by[:40]!r}; write hour, day or all", param="by")
        form = asked.get("format", "json")
        if form not in ("json", "csv"):
            raise InvalidRequestError(f"format is {form[:40]!r}; write json or csv", param="format")
        rows = await self._tenants.usage(
            tenant=asked.get("tenant", ""),
            key_id=asked.get("key_id", ""),
            model=asked.get("model", ""),
            since_unix_ms=sequence(request, "since_unix_ms"),
            by=cast(UsagePeriod, by),
        )
        if form == "csv":
            return Response(usage_csv(rows), media_type="text/csv; charset=utf-8")
        return _listed([asdict(row) for row in rows])


def _listed(data: list[dict[str, object]]) -> Response:
    return json_answer({"object": "list", "data": data})


def _shown(record: Tenant | Price) -> dict[str, object]:
    return record.model_dump(mode="json", exclude_none=True)
