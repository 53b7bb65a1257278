"""Prometheus metrics of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sage_common.clock import Clock
from sage_control_plane.manager import ControlPlaneManager
from sage_control_plane.pool.breaker import BreakerState
from sage_control_plane.request.engine_state import EnginePhase
from sage_control_plane.request.request import ServiceClass

QUEUE_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class SchedulerMetrics:
    """Counters and histograms, updated as decisions are carried out.

    Labelled children are cached, because looking one up costs more than using it.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["pool", "service_class"]
        self._dispatched = Counter("sage_scheduler_dispatched", "Dispatches.", labels, registry=registry)
        self._retried = Counter("sage_scheduler_retried", "Dispatches after the first.", labels, registry=registry)
        self._hedged = Counter(
            "sage_scheduler_hedged",
            "Second attempts at overdue requests, not in the dispatches.",
            labels,
            registry=registry,
        )
        self._refused = Counter("sage_scheduler_refused", "Refusals.", [*labels, "code"], registry=registry)
        self._queue_seconds = Histogram(
            "sage_scheduler_queue_seconds", "Time queued.", labels, buckets=QUEUE_SECONDS, registry=registry
        )
        self._engines_lost = Counter(
            "sage_scheduler_engines_lost",
            "Engines that fell silent, or that their executors took out.",
            ["pool"],
            registry=registry,
        )
        self._children: dict[tuple[str, ServiceClass], tuple[Counter, Counter, Histogram]] = {}

    def dispatched(self, pool: str, service_class: ServiceClass, queue_us: int, tries: int) -> None:
        """Count a dispatch."""
        children = self._children.get((pool, service_class))
        if children is None:
            labels = (pool, service_class.name.lower())
            children = (
                self._dispatched.labels(*labels),
                self._retried.labels(*labels),
                self._queue_seconds.labels(*labels),
            )
            self._children[pool, service_class] = children
        children[0].inc()
        if tries > 1:
            children[1].inc()
        children[2].observe(queue_us / 1_000_000)

    def hedged(self, pool: str, service_class: ServiceClass) -> None:
        """Count a hedge."""
        self._hedged.labels(pool, service_class.name.lower()).inc()

    def engine_lost(self, pool: str) -> None:
        """Count an engine that is gone."""
        self._engines_lost.labels(pool).inc()

    def refused(self, pool: str, service_class: ServiceClass, code: str) -> None:
        """Count a refusal."""
        self._refused.labels(pool, service_class.name.lower(), code).inc()


class PoolGauges(Collector):
    """Figures of the pools that this replica leads, read at each scrape; counts begin with its lead."""

    def __init__(self, managers: Callable[[], Iterable[ControlPlaneManager]], clock: Clock) -> None:
        self._managers = managers
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        queued = GaugeMetricFamily("sage_scheduler_queued", "Requests queued.", labels=["pool", "service_class"])
        outstanding = GaugeMetricFamily("sage_scheduler_outstanding", "Requests on engines.", labels=["pool", "engine"])
        saturation = GaugeMetricFamily("sage_scheduler_saturation", "Share of credits in use.", labels=["pool"])
        errors = GaugeMetricFamily(
            "sage_scheduler_prediction_error",
            "Mean absolute percentage error of predictions, as a share.",
            labels=["pool", "predicted"],
        )
        interrupted = CounterMetricFamily(
            "sage_scheduler_interrupted", "Bulk answers asked to give up their seats.", labels=["pool"]
        )
        recomputed = CounterMetricFamily(
            "sage_scheduler_recomputed_tokens", "Tokens given to engines again after that.", labels=["pool"]
        )
        ejections = CounterMetricFamily(
            "sage_scheduler_ejections", "Engines that get no work after failures in a row.", labels=["pool"]
        )
        ejected = GaugeMetricFamily(
            "sage_scheduler_ejected", "Engines that are ejected, or on probation after it.", labels=["pool"]
        )
        engines = GaugeMetricFamily("sage_scheduler_engines", "Engines, by phase.", labels=["pool", "phase"])
        drain = GaugeMetricFamily(
            "sage_scheduler_drain_seconds",
            "Expected time until what is queued has been dispatched, at the present rate; absent while none is known.",
            labels=["pool"],
        )
        attainment = GaugeMetricFamily(
            "sage_scheduler_predicted_attainment",
            "Share of queued requests with a target that can begin in time, at the present rate; 1 where none waits.",
            labels=["pool"],
        )
        # The scrape runs on a thread of its own, so it iterates over copies.
        for manager in list(self._managers()):
            for service_class, waiting in manager.queued_by_class.items():
                queued.add_metric([manager.pool, service_class.name.lower()], waiting.requests)
            phases = dict.fromkeys(EnginePhase, 0)
            entries = list(manager.engines.values())
            for entry in entries:
                outstanding.add_metric([manager.pool, entry.engine_id], entry.credits.requests)
                phases[entry.state.phase] += 1
            for phase, count in phases.items():
                engines.add_metric([manager.pool, phase.name.lower()], count)
            open_breakers = sum(entry.breaker.state is not BreakerState.CLOSED for entry in entries)
            ejected.add_metric([manager.pool], open_breakers)
            ejections.add_metric([manager.pool], manager.totals.ejected)
            saturation.add_metric([manager.pool], manager.saturation)
            interrupted.add_metric([manager.pool], manager.totals.interrupted)
            recomputed.add_metric([manager.pool], manager.totals.recomputed_tokens)
            expected = manager.outlook(self._clock.now())
            if expected.drain_seconds is not None:
                drain.add_metric([manager.pool], expected.drain_seconds)
            if expected.attainment is not None:
                attainment.add_metric([manager.pool], expected.attainment)
            for what, error in manager.prediction_errors.items():
                if error is not None:
                    errors.add_metric([manager.pool, what], error)
        yield from (queued, outstanding, saturation, errors, interrupted, recomputed, ejections, ejected, engines)
        yield from (drain, attainment)
