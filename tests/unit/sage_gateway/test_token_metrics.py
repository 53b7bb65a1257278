"""Tokens by tenant and model, however many tenants callers name."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from sage_common.usage import UsageEvent
from sage_gateway import metrics as gateway_metrics
from sage_gateway.metrics import OTHER_TENANTS, GatewayMetrics


def event(tenant: str, *, prompt: int = 10, cached: int = 4, completion: int = 3) -> UsageEvent:
    return UsageEvent(0.0, "req-1", tenant, "", "talks", prompt, cached, completion, 0, "ok")


def tokens(registry: CollectorRegistry, tenant: str, kind: str) -> float | None:
    labels = {"tenant": tenant, "model": "talks", "kind": kind}
    return registry.get_sample_value("sage_gateway_tokens_total", labels)


def test_tokens_are_counted_by_kind_and_those_of_the_cache_apart() -> None:
    registry = CollectorRegistry()
    counted = GatewayMetrics(registry)
    for _ in range(2):
        counted.count_usage(event("team-a"))
    assert [tokens(registry, "team-a", kind) for kind in ("prompt", "cached", "completion")] == [12, 8, 6]


def test_tenants_beyond_the_most_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_metrics, "MOST_SERIES", 6)
    registry = CollectorRegistry()
    counted = GatewayMetrics(registry)
    for number in range(50):
        counted.count_usage(event(f"tenant-{number}"))
    counted.count_usage(event("tenant-0"))

    series = [s for metric in registry.collect() if metric.name == "sage_gateway_tokens" for s in metric.samples]
    tenants = {sample.labels["tenant"] for sample in series}
    assert tenants == {"tenant-0", "tenant-1", OTHER_TENANTS}
    assert (tokens(registry, "tenant-0", "prompt"), tokens(registry, OTHER_TENANTS, "prompt")) == (12, 48 * 6)
