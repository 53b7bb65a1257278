"""What Prometheus is shown."""

from __future__ import annotations

from fixtures.control_plane import Pool, engine, request
from fixtures.manual_clock import ManualClock
from prometheus_client import CollectorRegistry

from sage_control_plane.request.request import ServiceClass
from sage_scheduler.metrics import PoolGauges, SchedulerMetrics


def test_decisions_are_counted_by_pool_and_class() -> None:
    registry = CollectorRegistry()
    metrics = SchedulerMetrics(registry)
    metrics.dispatched("main", ServiceClass.BULK, 1500, 1)
    metrics.dispatched("main", ServiceClass.BULK, 1500, 2)
    metrics.hedged("main", ServiceClass.BULK)
    metrics.refused("main", ServiceClass.BULK, "queue_full")
    labels = {"pool": "main", "service_class": "bulk"}
    assert registry.get_sample_value("sage_scheduler_dispatched_total", labels) == 2
    assert registry.get_sample_value("sage_scheduler_retried_total", labels) == 1
    assert registry.get_sample_value("sage_scheduler_hedged_total", labels) == 1
    assert registry.get_sample_value("sage_scheduler_refused_total", {**labels, "code": "queue_full"}) == 1
    assert registry.get_sample_value("sage_scheduler_queue_seconds_sum", labels) == 0.003


def test_gauges_show_the_books() -> None:
    pool = Pool(engine("a", concurrency=2))
    pool.submit(*(request(str(n), pool.now) for n in range(5)))
    registry = CollectorRegistry()
    registry.register(PoolGauges(lambda: [pool.manager], ManualClock(pool.now)))
    queued = {"pool": "main", "service_class": "interactive"}
    assert registry.get_sample_value("sage_scheduler_queued", queued) == 3
    assert registry.get_sample_value("sage_scheduler_outstanding", {"pool": "main", "engine": "a"}) == 2
    assert registry.get_sample_value("sage_scheduler_saturation", {"pool": "main"}) == 1.0
    assert registry.get_sample_value("sage_scheduler_drain_seconds", {"pool": "main"}) == 0.75
    assert registry.get_sample_value("sage_scheduler_predicted_attainment", {"pool": "main"}) == 1.0


def test_interruptions_and_what_is_computed_again_are_counted() -> None:
    pool = Pool(engine("a", concurrency=2))
    pool.manager.totals.interrupted, pool.manager.totals.recomputed_tokens = 3, 450
    registry = CollectorRegistry()
    registry.register(PoolGauges(lambda: [pool.manager], ManualClock(pool.now)))
    assert registry.get_sample_value("sage_scheduler_interrupted_total", {"pool": "main"}) == 3
    assert registry.get_sample_value("sage_scheduler_recomputed_tokens_total", {"pool": "main"}) == 450
