"""Tenants, prices and usage of a mesh: read and set, at any of its gateways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from grpc.aio import Channel

from sage.gateway.v1 import tenants_pb2 as pb
from sage.gateway.v1 import tenants_pb2_grpc
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_client.wait_notice import OnWait
from sage_common.prices import Price
from sage_common.tenants import Tenant, checked

GATEWAY = "gateway"
CALL_SECONDS = 10.0

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


class TenantManagement:
    """Reads and sets tenants and prices. Every method raises UnavailableError when no gateway answers, and
    PermissionDeniedError for a caller who is no operator.

    Args:
        token: API key or mesh token that the gateways are called with; empty for none.
        on_wait: called with which gateway a call waits for, when that takes longer than two seconds.
    """

    def __init__(self, list_instances: ListInstances, token: str = "", on_wait: OnWait | None = None) -> None:
        self._calls = ServiceCalls(list_instances, token, on_wait)

    async def set_tenant(self, tenant: Tenant) -> Tenant:
        """Store a tenant in place of the one of its name."""
        request = pb.SetTenantRequest(tenant=tenant_to_wire(tenant))
        answer: pb.SetTenantResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).SetTenant(request, timeout=CALL_SECONDS)
        )
        return tenant_from_wire(answer.tenant)

    async def list_tenants(self) -> list[Tenant]:
        """Return the tenants that are kept, by name."""
        answer: pb.ListTenantsResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).ListTenants(pb.ListTenantsRequest(), timeout=CALL_SECONDS)
        )
        return [tenant_from_wire(tenant) for tenant in answer.tenants]

    async def remove_tenant(self, name: str) -> Tenant:
        """Remove a tenant, and with it its limits. Raises NotFoundError."""
        answer: pb.RemoveTenantResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).RemoveTenant(pb.RemoveTenantRequest(name=name), timeout=CALL_SECONDS)
        )
        return tenant_from_wire(answer.tenant)

    async def set_price(self, price: Price) -> Price:
        """Store what a model costs."""
        request = pb.SetPriceRequest(price=price_to_wire(price))
        answer: pb.SetPriceResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).SetPrice(request, timeout=CALL_SECONDS)
        )
        return price_from_wire(answer.price)

    async def list_prices(self) -> list[Price]:
        """Return the prices, by model."""
        answer: pb.ListPricesResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).ListPrices(pb.ListPricesRequest(), timeout=CALL_SECONDS)
        )
        return [price_from_wire(price) for price in answer.prices]

    async def remove_price(self, model: str) -> Price:
        """Remove a price. Raises NotFoundError."""
        answer: pb.RemovePriceResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).RemovePrice(pb.RemovePriceRequest(model=model), timeout=CALL_SECONDS)
        )
        return price_from_wire(answer.price)

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
            )
            for row in answer.rows
        ]


def tenant_to_wire(tenant: Tenant) -> pb.Tenant:
    """Return a tenant as it travels."""
    return pb.Tenant(**tenant.model_dump(mode="json", exclude_none=True))


def tenant_from_wire(tenant: pb.Tenant) -> Tenant:
    """Return a tenant that has come. Raises InvalidRequestError."""
    return checked(Tenant, _given(tenant, "models"))


def price_to_wire(price: Price) -> pb.Price:
    """Return a price as it travels."""
    return pb.Price(**price.model_dump(mode="json", exclude_none=True))


def price_from_wire(price: pb.Price) -> Price:
    """Return a price that has come. Raises InvalidRequestError."""
    return checked(Price, _given(price))


def _given(message: Any, *repeated: str) -> dict[str, Any]:
    given = {field.name: value for field, value in message.ListFields()}
    return {name: tuple(value) if name in repeated else value for name, value in given.items()}


def _gateway(channel: Channel) -> Any:
    return tenants_pb2_grpc.TenantServiceStub(channel)  # type: ignore[no-untyped-call]
