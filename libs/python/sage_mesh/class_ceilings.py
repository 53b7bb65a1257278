"""The classes that tenants may have, as their records say."""

from __future__ import annotations

from collections.abc import Iterable

from sage_common.tenants import Tenant
from sage_control_plane.request.request import ServiceClass


def class_ceilings(tenants: Iterable[Tenant]) -> dict[str, ServiceClass]:
    """Return the most urgent class of each tenant that has one."""
    return {tenant.name: ServiceClass[tenant.class_ceiling.upper()] for tenant in tenants if tenant.class_ceiling}
