"""Write ``docs/metrics.md``, the metrics of every service as their code names them, or check that it is fresh.

Run as ``python -m sage_tools.metrics_page [--check]`` from the repository's root.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

PAGE = Path("docs/metrics.md")
_HEAD = """# Metrics

<!-- Written by `python -m sage_tools.metrics_page`; a test keeps it fresh. -->

Every service shows these at `/metrics` of its metrics port (`sage status` names it); the gateway also at its own
port. All times are seconds. A counter's name ends in `_total`; a histogram has `_bucket`, `_sum` and `_count`. Beside
them there is what Prometheus' client shows of every process (`process_…`, `python_…`).

Labels are bounded: pools, classes, engines and models are what the mesh serves; beyond 3,000 combinations of a
tenant, a model and a kind of token, tenants are counted together as `(others)`.
[`compose/compose.observability.yaml`](../compose/compose.observability.yaml) has dashboards and alerts of them.
"""


_COLUMNS = "| metric | kind | labels | what |\n|---|---|---|---|\n"


class MetricRow(NamedTuple):
    """One metric: its name as Prometheus stores it, without the suffixes of a histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def metrics_by_service() -> dict[str, list[MetricRow]]:
    """Return the metrics of each service, by name."""
    from sage_classifier.metrics import ClassifierMetrics
    from sage_common.clock import MonotonicClock
    from sage_dataflow_worker.metrics import WorkerMetrics
    from sage_embed_executor.metrics import EmbedMetrics
    from sage_gateway.metrics import GatewayMetrics
    from sage_llm_coordinator.pods.pod_discovery import PodGauges
    from sage_mesh.executor.executor_gauges import ExecutorGauges
    from sage_platform.process_gauges import ProcessGauges
    from sage_platform.tracing.span_export import SpanCounts
    from sage_scheduler.attainment import AnswerMeters
    from sage_scheduler.metrics import PoolGauges, SchedulerMetrics

    executors = ExecutorGauges(list)
    services: dict[str, list[MetricRow]] = {
        "every service": _rows(lambda registry: ProcessGauges(None, registry)),
        "services that send traces": _rows(SpanCounts),
        "gateway": _rows(GatewayMetrics),
        "classifier": _rows(ClassifierMetrics),
        "scheduler": _rows(SchedulerMetrics) + _rows(AnswerMeters) + _read_rows(PoolGauges(list, MonotonicClock())),
        "llm-coordinator, embed-executor": _read_rows(executors),
        "llm-coordinator that looks for pods": _read_rows(PodGauges(())),
        "embed-executor": _rows(EmbedMetrics),
        "dataflow-worker": _rows(WorkerMetrics),
    }
    return {service: sorted(rows) for service, rows in services.items()}


class _Recording(CollectorRegistry):
    """Keeps what is registered."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        super().register(collector)
        self.collectors.append(collector)


def _rows(make: Callable[[CollectorRegistry], object]) -> list[MetricRow]:
    """Return the metrics that an object makes in a registry."""
    registry = _Recording()
    make(registry)
    return [_row(metric, collector) for collector in registry.collectors for metric in _described(collector)]


def _read_rows(collector: Collector) -> list[MetricRow]:
    """Return the metrics that are read at each scrape."""
    return [_row(metric, metric) for metric in collector.collect()]


def _described(collector: Collector) -> Iterable[Metric]:
    describe: Callable[[], Iterable[Metric]] = collector.describe  # type: ignore[attr-defined]
    return describe()


def _row(metric: Metric, labelled: object) -> MetricRow:
    # The client has no other way to ask which labels a metric has before one has a value.
    labels: tuple[str, ...] = tuple(labelled._labelnames)  # type: ignore[attr-defined]
    suffix = "_total" if metric.type == "counter" else ""
    return MetricRow(metric.name + suffix, metric.type, labels, metric.documentation)


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for service, rows in metrics_by_service().items():
        parts.append(f"\n## {service[:1].upper()}{service[1:]}\n\n{_COLUMNS}")
        parts += (
            f"| `{row.name}` | {row.kind} | {', '.join(f'`{label}`' for label in row.labels)} | {row.text} |\n"
            for row in rows
        )
    return "".join(parts)


def main() -> None:
    """Write the page, or with ``--check`` say whether it is stale."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        raise SystemExit(f"{PAGE} is stale; run python -m sage_tools.metrics_page")


if __name__ == "__main__":
    main()
