"""What the service counts."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
_REQUEST_BUCKETS = (0.0001, 0.0005, *_SECONDS_BUCKETS, 5, 10, 30)


class EmbedMetrics:
    """Prometheus metrics of the embed-executor."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.texts = Counter("sage_embed_texts", "Texts asked for.", registry=registry)
        self.tokens = Counter("sage_embed_tokens", "Tokens asked for.", registry=registry)
        self.cache_hits = Counter("sage_embed_cache_hits", "Texts answered from the cache.", registry=registry)
        self.coalesced = Counter(
            "sage_embed_coalesced", "Texts that shared the computation of an equal one.", registry=registry
        )
        self.computed_tokens = Counter("sage_embed_computed_tokens", "Tokens computed.", registry=registry)
        self.padding_tokens = Counter("sage_embed_padding_tokens", "Padding computed.", registry=registry)
        self.batch_texts = Histogram(
            "sage_embed_batch_texts", "Texts in a batch.", buckets=_BATCH_BUCKETS, registry=registry
        )
        self.batch_seconds = Histogram(
            "sage_embed_batch_seconds", "Inference time of a batch.", buckets=_SECONDS_BUCKETS, registry=registry
        )
        self.truncated = Counter("sage_embed_truncated", "Inputs that were cut.", registry=registry)

        def seconds(name: str, text: str) -> Histogram:
            return Histogram(f"sage_embed_{name}_seconds", text, buckets=_REQUEST_BUCKETS, registry=registry)

        self.queue_seconds = seconds("queue", "Time that a request waited in the executor.")
        self.tokenize_seconds = seconds("tokenize", "Time to make tokens of a request's text.")
        self.inference_seconds = seconds("inference", "Time in which batches of a request were computed.")
        self.queued_tokens = Gauge("sage_embed_queued_tokens", "Tokens waiting for a batch.", registry=registry)
        self.cache_bytes = Gauge("sage_embed_cache_bytes", "Bytes of cached vectors.", registry=registry)
