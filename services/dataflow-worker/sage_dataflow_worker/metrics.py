"""What a worker counts."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class WorkerMetrics:
    """Prometheus metrics of the dataflow-worker."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.events_dropped = Counter(
            "sage_dataflow_events_dropped", "Events of jobs that were not published.", registry=registry
        )
        self.tasks = Counter("sage_dataflow_tasks", "Tasks that left this worker.", ["outcome"], registry=registry)
        self.tasks_running = Gauge("sage_dataflow_tasks_running", "Tasks that run now.", registry=registry)
        self.jobs = Counter("sage_dataflow_jobs", "Jobs that left this worker.", ["outcome"], registry=registry)
        self.jobs_running = Gauge("sage_dataflow_jobs_running", "Jobs that run now.", registry=registry)
