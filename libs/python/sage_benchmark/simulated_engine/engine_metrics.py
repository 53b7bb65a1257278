"""The simulated engine's ``/metrics``, under vLLM's names and labels (V1 engine)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sage_benchmark.simulated_engine.engine_model import EngineModel

LABELS = ("model_name", "engine")
# vLLM's own buckets, cut where the simulated engine cannot get.
TTFT_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160)
TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20, 40, 80)
REQUEST_BUCKETS = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)


@dataclass(slots=True)
class Counts:
    """Totals since the start."""

    generated: int = 0
    stopped: int = 0
    at_length: int = 0
    aborted: int = 0


class EngineMetrics:
    """Gauges are read from the model when they are asked for; times are seconds of the engine."""

    def __init__(self, model: EngineModel, model_name: str, now: Callable[[], float]) -> None:
        self.counts = Counts()
        registry = CollectorRegistry()
        registry.register(_State(model, model_name, now, self.counts))
        self._registry = registry
        labels = (model_name, "0")
        self.time_to_first_token = Histogram(
            "vllm:time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            LABELS,
            registry=registry,
            buckets=TTFT_BUCKETS,
        ).labels(*labels)
        self.inter_token_latency = Histogram(
            "vllm:inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
            LABELS,
            registry=registry,
            buckets=TOKEN_BUCKETS,
        ).labels(*labels)
        self.time_per_output_token = Histogram(
            "vllm:request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            LABELS,
            registry=registry,
            buckets=TOKEN_BUCKETS,
        ).labels(*labels)
        self.request_latency = Histogram(
            "vllm:e2e_request_latency_seconds",
            "Histogram of e2e request latency in seconds.",
            LABELS,
            registry=registry,
            buckets=REQUEST_BUCKETS,
        ).labels(*labels)

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(self, model: EngineModel, model_name: str, now: Callable[[], float], counts: Counts) -> None:
        self._model = model
        self._labels = (model_name, "0")
        self._now = now
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        model, config, counts = self._model, self._model.config, self._counts
        for name, what, value in (
            ("num_requests_running", "Number of requests in model execution batches.", float(model.running)),
            ("num_requests_waiting", "Number of requests waiting to be processed.", float(model.waiting)),
            ("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", model.kv_usage(self._now())),
        ):
            gauge = GaugeMetricFamily(f"vllm:{name}", what, labels=LABELS)
            gauge.add_metric(self._labels, value)
            yield gauge
        prompt, cached = model.prompt_tokens
        for name, what, total in (
            ("prompt_tokens", "Number of prefill tokens processed.", prompt),
            ("generation_tokens", "Number of generation tokens processed.", counts.generated),
            ("prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", prompt),
            ("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", cached),
        ):
            counter = CounterMetricFamily(f"vllm:{name}", what, labels=LABELS)
            counter.add_metric(self._labels, total)
            yield counter
        success = CounterMetricFamily(
            "vllm:request_success", "Count of successfully processed requests.", labels=(*LABELS, "finished_reason")
        )
        for reason, total in (("stop", counts.stopped), ("length", counts.at_length), ("abort", counts.aborted)):
            success.add_metric((*self._labels, reason), total)
        yield success
        described = {
            "block_size": str(config.block_tokens),
            "enable_prefix_caching": str(config.prefix_cache),
            "num_gpu_blocks": str(config.kv_tokens // config.block_tokens),
        }
        info = GaugeMetricFamily(
            "vllm:cache_config_info", "Information of the LLMEngine CacheConfig", labels=(*described, "engine")
        )
        info.add_metric((*described.values(), "0"), 1.0)
        yield info
