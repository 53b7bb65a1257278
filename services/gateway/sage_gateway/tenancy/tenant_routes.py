"""Tenants, prices and usage over REST: below ``/v1/management``, for operators."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client.management.tenants import TenantManagement, UsagePeriod, UsageView
from sage_client.management.usage_csv import usage_csv
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.openapi.answers import Listed
from sage_gateway.openapi.operation import TEXT, Access, operation, routes_of
from sage_gateway.order_bodies import OrderBodies
from sage_gateway.query_parameters import Choice, Sequence, Text
from sage_gateway.record_kinds import PRICES, TENANTS
from sage_gateway.record_routes import RecordRoutes

_TENANT_NAME = Text("tenant", "whose requests; empty for all")
_KEY_ID = Text("key_id", "with which key; empty for all")
_MODEL = Text("model", "that answered; empty for all")
_SINCE = Sequence("since_unix_ms", "milliseconds since 1970 from which on to count")
_BY = Choice("by", ("all", "hour", "day"), "periods to sum by")
_FORMAT = Choice("format", ("json", "csv"))


class TenantRoutes:
    """Serves operators."""

    def __init__(self, tenants: TenantManagement, credentials: Credentials, body_timeout_seconds: float) -> None:
        self._tenants = tenants
        self._credentials = credentials
        self._bodies = OrderBodies(body_timeout_seconds)

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        tenants = RecordRoutes(TENANTS, self._tenants.tenants, self._credentials, self._bodies, self._tenants.tenant)
        prices = RecordRoutes(PRICES, self._tenants.prices, self._credentials, self._bodies)
        return [*tenants.routes(), *prices.routes(), *routes_of(self)]

    @operation(
        "GET",
        "/v1/management/usage",
        "Sum up what was used",
        answer=Listed[UsageView],
        raw_answer={"text/csv": TEXT},
        query=(_TENANT_NAME, _KEY_ID, _MODEL, _SINCE, _BY, _FORMAT),
        access=Access.OPERATOR,
    )
    async def _usage(self, request: Request) -> Response:
        self._credentials.operator(request.headers)
        by, form = _BY.of(request), _FORMAT.of(request)
        rows = await self._tenants.usage(
            tenant=_TENANT_NAME.of(request),
            key_id=_KEY_ID.of(request),
            model=_MODEL.of(request),
            since_unix_ms=_SINCE.of(request),
            by=cast(UsagePeriod, by),
        )
        if form == "csv":
            return Response(usage_csv(rows), media_type="text/csv; charset=utf-8")
        return json_answer({"object": "list", "data": [asdict(row) for row in rows]})
