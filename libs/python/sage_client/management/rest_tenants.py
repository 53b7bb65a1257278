"""Keys, tenants and usage at a gateway's management API, for programs that are not inside the mesh."""

from __future__ import annotations

from typing import Any

from sage_client.gateway_answers import value_of
from sage_client.management.api_keys import KeyView, NewKey
from sage_client.management.rest_call import RestCall, path_of
from sage_client.management.tenants import UsagePeriod, UsageView
from sage_common.prices import Price
from sage_common.tenants import Tenant


class RestTenants:
    """Reads and sets tenants, keys and prices. All is for operators; failures are SageErrors."""

    def __init__(self, call: RestCall) -> None:
        self._call = call

    async def tenants(self) -> list[Tenant]:
        """Return the tenants that are kept, by name."""
        return value_of((await self._call.ask("GET", "/tenants"))["data"], list[Tenant])

    async def set_tenant(self, tenant: Tenant) -> Tenant:
        """Store a tenant in place of the one of its name. Raises InvalidRequestError."""
        body = tenant.model_dump(mode="json", exclude_none=True)
        return value_of(await self._call.ask("PUT", path_of("/tenants", body.pop("name")), body=body), Tenant)

    async def remove_tenant(self, name: str) -> None:
        """Remove a tenant, and with it its limits. Raises NotFoundError."""
        await self._call.ask("DELETE", path_of("/tenants", name))

    async def prices(self) -> list[Price]:
        """Return the prices, by model."""
        return value_of((await self._call.ask("GET", "/prices"))["data"], list[Price])

    async def keys(self) -> list[KeyView]:
        """Return every key, the oldest first."""
        return value_of((await self._call.ask("GET", "/keys"))["data"], list[KeyView])

    async def create_key(
        self, tenant: str, *, operator: bool = False, label: str = "", lifetime_seconds: int = 0
    ) -> NewKey:
        """Make a key of a tenant. Raises InvalidRequestError, UnprocessableError."""
        body = {"tenant": tenant, "operator": operator, "label": label, "lifetime_seconds": lifetime_seconds}
        return _new(await self._call.ask("POST", "/keys", body=body))

    async def rotate_key(self, key_id: str, *, grace_seconds: int = 0) -> NewKey:
        """Make another key for the holder of a key. Raises NotFoundError, ConflictError."""
        path = f"{path_of('/keys', key_id)}/rotate"
        return _new(await self._call.ask("POST", path, body={"grace_seconds": grace_seconds}))

    async def revoke_key(self, key_id: str) -> KeyView:
        """End a key at once. Raises NotFoundError."""
        return value_of(await self._call.ask("DELETE", path_of("/keys", key_id)), KeyView)

    async def usage(
        self, *, tenant: str = "", model: str = "", since_unix_ms: int = 0, by: UsagePeriod = "all"
    ) -> list[UsageView]:
        """Return what requests came to, summed; see ``TenantManagement.usage``."""
        query = {"tenant": tenant, "model": model, "since_unix_ms": since_unix_ms or "", "by": by}
        return value_of((await self._call.ask("GET", "/usage", query))["data"], list[UsageView])


def _new(answer: dict[str, Any]) -> NewKey:
    secret = str(answer.pop("secret"))
    return NewKey(value_of(answer, KeyView), secret)
