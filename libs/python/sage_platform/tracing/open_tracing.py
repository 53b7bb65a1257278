"""Tracing as the settings want it, put together. Loads OpenTelemetry's SDK."""

from __future__ import annotations

import logging

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from prometheus_client import CollectorRegistry

from sage_common.telemetry_settings import TelemetrySettings
from sage_platform.tracing.kept_spans import KeptSpans
from sage_platform.tracing.span_export import SpanExport
from sage_platform.tracing.tracer import Tracer


def open_tracing(
    settings: TelemetrySettings, service: str, instance: str, registry: CollectorRegistry
) -> tuple[Tracer, KeptSpans]:
    """Return the tracer of this process, and the spans that it keeps. Raises ConfigurationError."""
    kept = KeptSpans(settings.kept_spans)
    processors: list[SpanProcessor] = [kept]
    if endpoint := settings.traces_endpoint:
        # It would write several lines a batch while the collector is away; ``SpanExport`` says it once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        processors.append(SpanExport(OTLPSpanExporter(endpoint), registry))
    return Tracer(service, instance, settings.ratio, processors), kept
