"""``sage bench gateway --everything``: a mesh with all that can be turned on, another with nothing of it, in turns."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from sage_benchmark.gateway_benchmark import LIMITED_BODY, static_engine
from sage_benchmark.gateway_limits import measure_limits
from sage_benchmark.report.bars import Bar
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.resilience.resilience_result import ResilienceResult
from sage_benchmark.span_sink import span_sink

# Beside keys and every limit there is: what a request goes through that is off by default.
EVERYTHING = {
    "SAGE_GATEWAY_CORS_ORIGINS": '["https://chat.example.com"]',
    "SAGE_GATEWAY_STREAM_COMMENT_SECONDS": "15",
    "SAGE_TELEMETRY_SAMPLE_RATIO": "0.01",
}
MOST_LATENCY = 1.15
LEAST_RATE = 0.85


@dataclass(frozen=True)
class EverythingPlan:
    """How much to measure; each repetition is eight turns of both meshes."""

    single_requests: int = 2_000
    loaded_requests: int = 16_000
    repetitions: int = 2


def run(plan: EverythingPlan) -> ResilienceResult:
    """Start an engine and two meshes, measure, and take all down."""
    with (
        tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch,
        static_engine() as engine,
        span_sink() as collector,
    ):
        found = measure_limits(
            engine,
            Path(scratch),
            LIMITED_BODY,
            single_requests=plan.single_requests,
            loaded_requests=plan.loaded_requests,
            repetitions=plan.repetitions,
            settings={**EVERYTHING, "SAGE_TELEMETRY_OTLP_ENDPOINT": collector},
        )
    bars = [
        Bar("p50 at concurrency 1, everything on, against all off", found["latency_ratio"], MOST_LATENCY, "×"),
        Bar("requests/s at 64 connections, the same", found["rate_ratio"], LEAST_RATE, "×", at_most=False),
    ]
    table = ReportTable(
        "Everything on, all off",
        "on: an API key, a tenant with every limit, prices, CORS, comments in streams, traces of 1 %",
        ("", "requests/s, 64 connections", "p50 ms, one connection"),
        [
            (name, f"{found[f'{name}_requests_per_second']:,.0f}", f"{found[f'{name}_p50_ms']:.2f}")
            for name in ("off", "on")
        ],
    )
    return ResilienceResult("Everything on", asdict(plan), found, [table], bars)
