"""gRPC ↔ domain: tenants and prices set, listed and removed, and usage summed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from grpc import aio

from sage.gateway.v1 import tenants_pb2 as pb
from sage.gateway.v1 import tenants_pb2_grpc
from sage_client.management.operator_records import to_wire
from sage_common.prices import NANOS, Price
from sage_common.quota.meter import Period, Unit, period_start
from sage_common.tenants import Tenant
from sage_common.usage import Sums, UsageGroup, UsageSum
from sage_gateway.stored_records import StoredRecords, stored
from sage_gateway.tenancy.kept_limit import LimitState
from sage_gateway.tenancy.quota_keeper import QuotaKeeper
from sage_gateway.tenancy.usage_sums import UsageSums
from sage_platform.grpc_access import for_operators
from sage_platform.record_store import RecordStore

Context = aio.ServicerContext[Any, Any]


class TenantServicer(tenants_pb2_grpc.TenantServiceServicer):
    """The calls of operators about tenants, prices and usage."""

    def __init__(
        self, tenants: RecordStore[Tenant], prices: RecordStore[Price], usage: UsageSums, keeper: QuotaKeeper
    ) -> None:
        self._tenants = StoredRecords(tenants, Tenant, pb.Tenant)
        self._prices = StoredRecords(prices, Price, pb.Price)
        self._usage = usage
        self._keeper = keeper

    @for_operators
    async def SetTenant(  # noqa: N802 - the name in the contract
        self, request: pb.SetTenantRequest, context: Context
    ) -> pb.SetTenantResponse:
        return pb.SetTenantResponse(tenant=await self._tenants.set(request.tenant))

    @for_operators
    async def GetTenant(self, request: pb.GetTenantRequest, context: Context) -> pb.GetTenantResponse:  # noqa: N802
        tenant = await self._tenants.get(request.name)
        limits = [_limit(state) for state in self._keeper.states(tenant)]
        return pb.GetTenantResponse(tenant=to_wire(tenant, pb.Tenant), limits=limits)

    @for_operators
    async def ListTenants(  # noqa: N802
        self, request: pb.ListTenantsRequest, context: Context
    ) -> pb.ListTenantsResponse:
        return pb.ListTenantsResponse(tenants=await self._tenants.all())

    @for_operators
    async def RemoveTenant(  # noqa: N802
        self, request: pb.RemoveTenantRequest, context: Context
    ) -> pb.RemoveTenantResponse:
        return pb.RemoveTenantResponse(tenant=await self._tenants.remove(request.name))

    @for_operators
    async def SetPrice(self, request: pb.SetPriceRequest, context: Context) -> pb.SetPriceResponse:  # noqa: N802
        return pb.SetPriceResponse(price=await self._prices.set(request.price))

    @for_operators
    async def ListPrices(self, request: pb.ListPricesRequest, context: Context) -> pb.ListPricesResponse:  # noqa: N802
        return pb.ListPricesResponse(prices=await self._prices.all())

    @for_operators
    async def RemovePrice(  # noqa: N802
        self, request: pb.RemovePriceRequest, context: Context
    ) -> pb.RemovePriceResponse:
        return pb.RemovePriceResponse(price=await self._prices.remove(request.model))

    @for_operators
    async def QueryUsage(self, request: pb.QueryUsageRequest, context: Context) -> pb.QueryUsageResponse:  # noqa: N802
        sums = await stored(self._usage.read(request.tenant, request.since_unix_ms / 1000))
        return pb.QueryUsageResponse(rows=usage_rows(sums, request))


def usage_rows(sums: Sums, request: pb.QueryUsageRequest) -> list[pb.UsageRow]:
    """Return those of the sums that are asked for, by period, tenant, key, model and route."""
    rows: dict[tuple[int, str, str, str, str], UsageSum] = {}
    for group, total in sums.items():
        if request.key_id in ("", group.key_id) and request.model in ("", group.model):
            key = (_start(group, request.period), group.tenant, group.key_id, group.model, group.route)
            rows[key] = rows.get(key, UsageSum()).plus(total)
    return [
        pb.UsageRow(
            start_unix_ms=start * 1000,
            tenant=tenant,
            key_id=key_id,
            model=model,
            requests=total.requests,
            failed=total.failed,
            prompt_tokens=total.prompt_tokens,
            cached_tokens=total.cached_tokens,
            completion_tokens=total.completion_tokens,
            money=f"{(Decimal(total.nanos) / NANOS).normalize():f}",
            route=route,
        )
        for (start, tenant, key_id, model, route), total in sorted(rows.items())
    ]


def _limit(state: LimitState) -> pb.LimitState:
    scale = NANOS if state.meter.unit is Unit.MONEY else 1
    limit, left = (f"{(Decimal(amount) / scale).normalize():f}" for amount in (state.meter.limit, state.left))
    return pb.LimitState(
        unit=state.meter.unit.value,
        period=state.meter.period.value,
        limit=limit,
        left=left,
        resets_seconds=state.resets_seconds,
    )


def _start(group: UsageGroup, period: pb.UsagePeriod) -> int:
    if period == pb.USAGE_PERIOD_HOUR:
        return group.hour
    return int(period_start(Period.DAY, group.hour)) if period == pb.USAGE_PERIOD_DAY else 0
