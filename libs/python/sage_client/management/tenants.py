"""Tenants, prices and usage of a mesh: read and set, at any of its gateways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from grpc.aio import Channel

from sage.gateway.v1 import tenants_pb2 as pb
from sage.gateway.v1 import tenants_pb2_grpc
from sage_client.management.operator_records import CALL_SECONDS, GATEWAY, OperatorRecords, from_wire
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_client.wait_notice import OnWait
from sage_common.prices import Price
from sage_common.tenants import Tenant

UsagePeriod = Literal["all", "hour", "day"]
_PERIODS = {
    "all": pb.USAGE_PERIOD_UNSPECIFIED,
    "hour": pb.USAGE_PERIOD_HOUR,
    "day": pb.USAGE_PERIOD_DAY,
}


@dataclass(frozen=True, slots=True)
class UsageView:
    """What the requests of one tenant, key and model came to.

    Attributes:
        start_unix_ms: beginning of the period, in milliseconds since 1970-01-01 UTC; None where all time is summed.
        key_id: of the API key that they came with; empty for none that the mesh has issued.
        model: that answered; empty where none did.
        failed: those of the requests that ended with an error.
        cached_tokens: those of the prompts that the engine had in its cache.
        money: what they cost, a decimal number in the currency of the prices.
        route: the model route that they named; empty for those that named the model itself.
    """

    start_unix_ms: int | None
    tenant: str
    key_id: str
    model: str
    requests: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    money: str
    route: str = ""


@dataclass(frozen=True, slots=True)
class LimitView:
    """What is left of a limit of a tenant.

    Attributes:
        unit: requests, tokens, money or concurrency.
        period: minute, day, month, or held for what is held at once.
        limit, left: decimal numbers; money in the currency of the prices. What running requests have reserved is not
            left.
        resets_seconds: until all of it is there again, if nothing more is spent.
    """

    unit: str
    period: str
    limit: str
    left: str
    resets_seconds: float


class TenantState(Tenant):
    """A tenant, and what is left of its limits."""

    left: tuple[LimitView, ...] = ()


class TenantManagement:
    """Reads and sets tenants and prices. Every method raises UnavailableError when no gateway answers, and
    PermissionDeniedError for a caller who is no operator.

    Attributes:
        tenants, prices: as records.

    Args:
        token: API key or mesh token that the gateways are called with; empty for none.
        on_wait: called with which gateway a call waits for, when that takes longer than two seconds.
    """

    def __init__(self, list_instances: ListInstances, token: str = "", on_wait: OnWait | None = None) -> None:
        self._calls = ServiceCalls(list_instances, token, on_wait)
        self.tenants = OperatorRecords(self._calls, Tenant, pb, _gateway, "Tenant", field="tenant")
        self.prices = OperatorRecords(self._calls, Price, pb, _gateway, "Price", field="price", key="model")

    async def set_tenant(self, tenant: Tenant) -> Tenant:
        """Store a tenant in place of the one of its name."""
        return await self.tenants.put(tenant)

    async def list_tenants(self) -> list[Tenant]:
        """Return the tenants that are kept, by name."""
        return await self.tenants.all()

    async def tenant(self, name: str) -> TenantState:
        """Return a tenant and what is left of its limits. Raises NotFoundError."""
        answer: pb.GetTenantResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).GetTenant(pb.GetTenantRequest(name=name), timeout=CALL_SECONDS)
        )
        left = tuple(
            LimitView(each.unit, each.period, each.limit, each.left, round(each.resets_seconds, 1))
            for each in answer.limits
        )
        return TenantState(**from_wire(Tenant, answer.tenant).model_dump(), left=left)

    async def remove_tenant(self, name: str) -> Tenant:
        """Remove a tenant, and with it its limits. Raises NotFoundError."""
        return await self.tenants.remove(name)

    async def set_price(self, price: Price) -> Price:
        """Store what a model costs."""
        return await self.prices.put(price)

    async def list_prices(self) -> list[Price]:
        """Return the prices, by model."""
        return await self.prices.all()

    async def remove_price(self, model: str) -> Price:
        """Remove a price. Raises NotFoundError."""
        return await self.prices.remove(model)

    async def usage(
        self, *, tenant: str = "", key_id: str = "", model: str = "", since_unix_ms: int = 0, by: UsagePeriod = "all"
    ) -> list[UsageView]:
        """Return what requests came to, summed; it lags the last request by a second or two.

        Args:
            tenant, key_id, model: leave out all others; empty for all.
            since_unix_ms: from the hour of this time on.
            by: one row for each hour or UTC day, or for all of it.
        """
        request = pb.QueryUsageRequest(
            tenant=tenant, key_id=key_id, model=model, since_unix_ms=since_unix_ms, period=_PERIODS[by]
        )
        answer: pb.QueryUsageResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).QueryUsage(request, timeout=CALL_SECONDS)
        )
        return [
            UsageView(
                row.start_unix_ms or None,
                row.tenant,
                row.key_id,
                row.model,
                row.requests,
                row.failed,
                row.prompt_tokens,
                row.cached_tokens,
                row.completion_tokens,
                row.money,
                row.route,
            )
            for row in answer.rows
        ]


def _gateway(channel: Channel) -> Any:
    return tenants_pb2_grpc.TenantServiceStub(channel)  # type: ignore[no-untyped-call]
