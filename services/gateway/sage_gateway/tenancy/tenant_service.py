"""gRPC ↔ domain: tenants and prices set, listed and removed, and usage summed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from decimal import Decimal
from typing import Any, TypeVar

from grpc import aio

from sage.gateway.v1 import tenants_pb2 as pb
from sage.gateway.v1 import tenants_pb2_grpc
from sage_client.management.tenants import price_from_wire, price_to_wire, tenant_from_wire, tenant_to_wire
from sage_common.prices import NANOS, Price
from sage_common.quota.meter import Period, period_start
from sage_common.tenants import Tenant
from sage_common.usage import Sums, UsageGroup, UsageSum
from sage_gateway.tenancy.usage_sums import UsageSums
from sage_platform.grpc_access import for_operators
from sage_platform.jetstream_access import reaching_jetstream
from sage_platform.record_store import RecordStore

Context = aio.ServicerContext[Any, Any]
# JetStream's answers, and the wait for records that were not read yet.
STORE_SECONDS = 5.0

T = TypeVar("T")


class TenantServicer(tenants_pb2_grpc.TenantServiceServicer):
    """The calls of operators about tenants, prices and usage."""

    def __init__(self, tenants: RecordStore[Tenant], prices: RecordStore[Price], usage: UsageSums) -> None:
        self._tenants = tenants
        self._prices = prices
        self._usage = usage

    @for_operators
    async def SetTenant(  # noqa: N802 - the name in the contract
        self, request: pb.SetTenantRequest, context: Context
    ) -> pb.SetTenantResponse:
        tenant = await _stored(self._tenants.put(tenant_from_wire(request.tenant)))
        return pb.SetTenantResponse(tenant=tenant_to_wire(tenant))

    @for_operators
    async def ListTenants(  # noqa: N802
        self, request: pb.ListTenantsRequest, context: Context
    ) -> pb.ListTenantsResponse:
        tenants = await _stored(self._tenants.all())
        return pb.ListTenantsResponse(tenants=[tenant_to_wire(tenant) for tenant in tenants])

    @for_operators
    async def RemoveTenant(  # noqa: N802
        self, request: pb.RemoveTenantRequest, context: Context
    ) -> pb.RemoveTenantResponse:
        tenant = await _stored(self._tenants.remove(request.name))
        return pb.RemoveTenantResponse(tenant=tenant_to_wire(tenant))

    @for_operators
    async def SetPrice(self, request: pb.SetPriceRequest, context: Context) -> pb.SetPriceResponse:  # noqa: N802
        price = await _stored(self._prices.put(price_from_wire(request.price)))
        return pb.SetPriceResponse(price=price_to_wire(price))

    @for_operators
    async def ListPrices(self, request: pb.ListPricesRequest, context: Context) -> pb.ListPricesResponse:  # noqa: N802
        prices = await _stored(self._prices.all())
        return pb.ListPricesResponse(prices=[price_to_wire(price) for price in prices])

    @for_operators
    async def RemovePrice(  # noqa: N802
        self, request: pb.RemovePriceRequest, context: Context
    ) -> pb.RemovePriceResponse:
        price = await _stored(self._prices.remove(request.model))
        return pb.RemovePriceResponse(price=price_to_wire(price))

    @for_operators
    async def QueryUsage(self, request: pb.QueryUsageRequest, context: Context) -> pb.QueryUsageResponse:  # noqa: N802
        sums = await _stored(self._usage.read(request.tenant, request.since_unix_ms / 1000))
        return pb.QueryUsageResponse(rows=usage_rows(sums, request))


def usage_rows(sums: Sums, request: pb.QueryUsageRequest) -> list[pb.UsageRow]:
    """Return those of the sums that are asked for, by period, tenant, key and model."""
    rows: dict[tuple[int, str, str, str], UsageSum] = {}
    for group, total in sums.items():
        if request.key_id in ("", group.key_id) and request.model in ("", group.model):
            key = (_start(group, request.period), group.tenant, group.key_id, group.model)
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
        )
        for (start, tenant, key_id, model), total in sorted(rows.items())
    ]


def _start(group: UsageGroup, period: pb.UsagePeriod) -> int:
    if period == pb.USAGE_PERIOD_HOUR:
        return group.hour
    return int(period_start(Period.DAY, group.hour)) if period == pb.USAGE_PERIOD_DAY else 0


async def _stored(work: Awaitable[T]) -> T:
    with reaching_jetstream():
        return await asyncio.wait_for(work, STORE_SECONDS)
