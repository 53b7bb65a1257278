"""What the gateway counts."""

from __future__ import annotations

from collections.abc import Awaitable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from sage_common.clock import Clock
from sage_common.usage import UsageEvent

_TTFT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOTAL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# Callers without keys may name any tenant; what comes after so many is counted together.
MOST_SERIES = 3_000
OTHER_TENANTS = "(others)"


class GatewayMetrics:
    """Counters of the HTTP API, by endpoint and status."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self._requests = Counter(
            "sage_gateway_requests", "Requests answered.", ["endpoint", "status"], registry=registry
        )
        self._in_flight = Gauge("sage_gateway_in_flight", "Requests being answered.", registry=registry)
        self._ttft = Histogram(
            "sage_gateway_ttft_seconds",
            "From the whole request to the first byte of its answer.",
            ["endpoint"],
            buckets=_TTFT_BUCKETS,
            registry=registry,
        )
        self._total = Histogram(
            "sage_gateway_total_seconds",
            "From the request's headers to the last byte of its answer.",
            ["endpoint"],
            buckets=_TOTAL_BUCKETS,
            registry=registry,
        )

        self._by_tenant: dict[tuple[str, str, str], Counter] = {}
        self._tokens = Counter(
            "sage_gateway_tokens", "Tokens of ended requests.", ["tenant", "model", "kind"], registry=registry
        )

        self._fallbacks = Counter(
            "sage_gateway_model_fallbacks",
            "Requests that went on with another model.",
            ["route", "reason"],
            registry=registry,
        )

    def count_fallback(self, route: str, reason: str) -> None:
        """Count a request that went on with another model of its route."""
        self._fallbacks.labels(route, reason).inc()

    def count_usage(self, event: UsageEvent) -> None:
        """Count the tokens of a request that has ended; ``kind`` is prompt, cached or completion."""
        for kind, tokens in (
            ("prompt", event.prompt_tokens - event.cached_tokens),
            ("cached", event.cached_tokens),
            ("completion", event.completion_tokens),
        ):
            if tokens > 0:
                self._tokens_of(event.tenant, event.model, kind).inc(tokens)

    def _tokens_of(self, tenant: str, model: str, kind: str) -> Counter:
        key = (tenant, model, kind)
        child = self._by_tenant.get(key)
        if child is None:
            if len(self._by_tenant) >= MOST_SERIES:
                key = (OTHER_TENANTS, model, kind)
            child = self._by_tenant[key] = self._tokens.labels(*key)
        return child

    def endpoint(self, name: str) -> EndpointMetrics:
        """Return the meters of one endpoint."""
        return EndpointMetrics(self._requests, self._in_flight, self._ttft.labels(name), self._total.labels(name), name)


class EndpointMetrics:
    """Meters of one endpoint. Looking up a labelled child costs a microsecond, so children are kept."""

    def __init__(self, requests: Counter, in_flight: Gauge, ttft: Histogram, total: Histogram, name: str) -> None:
        self._requests = requests
        self._in_flight = in_flight
        self._ttft = ttft
        self._total = total
        self._name = name
        self._by_status: dict[int, Counter] = {}

    async def count(self, answering: Awaitable[int], clock: Clock) -> None:
        """Count a request that came in until it is answered; ``answering`` returns its status."""
        began = clock.now()
        self._in_flight.inc()
        status = 500
        try:
            status = await answering
        finally:
            self._ended(status, clock.now() - began)

    def first_byte(self, seconds: float) -> None:
        """Observe the first byte of an answer, ``seconds`` after its whole request."""
        self._ttft.observe(seconds)

    def _ended(self, status: int, seconds: float) -> None:
        """Count a request that has its answer, or whose client went away (499), ``seconds`` after its headers."""
        self._in_flight.dec()
        child = self._by_status.get(status)
        if child is None:
            child = self._by_status[status] = self._requests.labels(self._name, str(status))
        child.inc()
        self._total.observe(seconds)
