"""What the classifier counts."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram


class ClassifierMetrics:
    """Prometheus metrics of the classifier."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter("sage_classifier_requests", "Requests classified.", ["outcome"], registry=registry)
        self.seconds = Histogram(
            "sage_classifier_seconds",
            "Time to classify one request.",
            buckets=(5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2),
            registry=registry,
        )
