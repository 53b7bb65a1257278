"""The shares of tenants while the mesh runs."""

from __future__ import annotations

from sage_common.tenants import Tenant
from sage_control_plane.policies.hybrid import HybridSettings
from sage_control_plane.policies.virtual_counters import VirtualCounters
from sage_scheduler.config import SchedulerSettings
from sage_scheduler.tenant_weights import TenantWeights


def test_a_tenants_record_goes_before_the_settings_and_they_count_again_when_it_is_gone() -> None:
    settings = SchedulerSettings(hybrid=HybridSettings(weights={"acme": 2.0, "bulk": 0.5}))  # type: ignore[call-arg]
    weights = TenantWeights(settings.control())
    counters = VirtualCounters(weights.control.policies.hybrid.weights)

    def charged(tenant: str) -> float:
        before = counters.value(tenant)
        counters.charge(tenant, 8.0)
        return counters.value(tenant) - before

    weights.follow([Tenant(name="acme", weight=4.0), Tenant(name="new", weight=8.0), Tenant(name="plain")])
    assert [charged(tenant) for tenant in ("acme", "bulk", "new", "plain")] == [2.0, 16.0, 1.0, 8.0]
    weights.follow([])
    assert [charged(tenant) for tenant in ("acme", "new")] == [4.0, 8.0]
