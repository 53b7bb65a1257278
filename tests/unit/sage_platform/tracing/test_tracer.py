"""Spans: which are made, what they belong to, how long they are kept, and that nobody waits for their collector."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client import CollectorRegistry

from sage_common.trace_context import is_sampled, usable_traceparent
from sage_platform.tracing.kept_spans import KeptSpans
from sage_platform.tracing.span_export import SpanExport
from sage_platform.tracing.tracer import Tracer

RECORDED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNRECORDED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def tracer(ratio: float = 1.0, *, kept: int = 100) -> tuple[Tracer, KeptSpans]:
    spans = KeptSpans(kept)
    return Tracer("gateway", "gateway-1", ratio, [spans]), spans


@pytest.mark.parametrize(("ratio", "recorded"), [(0.0, False), (1.0, True)])
def test_the_share_decides_where_the_caller_does_not(ratio: float, recorded: bool) -> None:
    span, traceparent = tracer(ratio)[0].begin("work", "")
    assert (span is not None, is_sampled(traceparent)) == (recorded, recorded)
    assert usable_traceparent(traceparent) == traceparent


@pytest.mark.parametrize(("given", "recorded"), [(RECORDED, True), (UNRECORDED, False)])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_caller_that_decides_has_its_way(given: str, recorded: bool, ratio: float) -> None:
    span, traceparent = tracer(ratio)[0].begin("work", given)
    assert (span is not None) is recorded
    assert traceparent[:36] == given[:36]


def test_a_span_is_part_of_the_one_whose_context_it_was_given() -> None:
    traced, kept = tracer()
    outer, context = traced.begin("outer", RECORDED)
    assert outer is not None
    traced.record("inner", context, 0.25, error="engine_failed")
    outer.end()

    inner, ended = kept.find(RECORDED[3:35])
    assert (inner.name, ended.name) == ("inner", "outer")
    assert inner.parent is not None
    assert ended.parent is not None
    assert ended.context is not None
    assert format_span_id(inner.parent.span_id) == context[36:52] == format_span_id(ended.context.span_id)
    assert format_span_id(ended.parent.span_id) == RECORDED[36:52]
    assert (inner.attributes or {})["error.type"] == "engine_failed"
    assert ((inner.end_time or 0) - (inner.start_time or 0)) == 250_000_000


@pytest.mark.parametrize("broken", ["1", "00-zz-01", RECORDED.upper(), f"00-{'0' * 32}-00f067aa0ba902b7-01"])
def test_a_context_that_is_none_begins_a_trace(broken: str) -> None:
    traced, kept = tracer()
    traced.record("work", broken, 0.0, attributes={"sage.request_id": "r"})
    (span,) = kept.find("r")
    assert span.parent is None


def test_a_second_end_changes_nothing() -> None:
    traced, kept = tracer()
    span = traced.start("work", RECORDED)
    span.end()
    span.end()
    assert len(kept.find(RECORDED[3:35])) == 1


def test_kept_spans_are_found_by_the_ids_of_requests_callers_and_jobs_with_the_rest_of_their_trace() -> None:
    traced, kept = tracer()
    for name in ("sage.request_id", "sage.correlation_id", "sage.job_id"):
        root, context = traced.begin("root", "")
        assert root is not None
        traced.record("inner", context, 0.0, attributes={name: f"the-{name}"})
        root.end()
        assert [span.name for span in kept.find(f"the-{name}")] == ["inner", "root"]
    assert kept.find("another") == []


def test_only_the_latest_spans_are_kept() -> None:
    traced, kept = tracer(kept=3)
    for number in range(5):
        traced.record(f"work {number}", RECORDED, 0.0)
    assert [span.name for span in kept.find(RECORDED[3:35])] == ["work 2", "work 3", "work 4"]


class Collector(SpanExporter):
    """Takes spans when its gate is open, or refuses them."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.gate = threading.Event()
        self.result = result
        self.taken: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.gate.wait(10)
        self.taken += [span.name for span in spans]
        return self.result

    def shutdown(self) -> None:
        self.gate.set()


def counted(registry: CollectorRegistry, reason: str) -> float | None:
    return registry.get_sample_value("sage_trace_spans_dropped_total", {"reason": reason})


def test_spans_that_find_the_queue_full_are_dropped_and_counted_and_nobody_waits() -> None:
    registry, collector = CollectorRegistry(), Collector()
    export = SpanExport(collector, registry, most_waiting=3)
    traced = Tracer("gateway", "gateway-1", 1.0, [export])
    for number in range(8):
        traced.record(f"work {number}", RECORDED, 0.0)
    assert counted(registry, "queue_full") == 5

    collector.gate.set()
    traced.close()
    assert collector.taken == ["work 0", "work 1", "work 2"]
    assert registry.get_sample_value("sage_trace_spans_exported_total") == 3


def test_spans_that_the_collector_does_not_take_are_counted_and_make_room() -> None:
    registry, collector = CollectorRegistry(), Collector(SpanExportResult.FAILURE)
    collector.gate.set()
    export = SpanExport(collector, registry, most_waiting=2)
    traced = Tracer("gateway", "gateway-1", 1.0, [export])
    for _ in range(2):
        traced.record("work", RECORDED, 0.0)
        traced.record("work", RECORDED, 0.0)
        traced.flush()
    assert (counted(registry, "not_taken"), counted(registry, "queue_full")) == (4, 0)
    traced.close()


def test_a_process_ends_although_its_collector_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sage_platform.tracing.span_export.STOP_SECONDS", 0.05)
    collector = Collector()
    traced = Tracer("gateway", "gateway-1", 1.0, [SpanExport(collector, CollectorRegistry())])
    traced.record("work", RECORDED, 0.0)
    traced.close()
    assert collector.gate.is_set()


def test_spans_say_which_process_they_are_from() -> None:
    traced, kept = tracer()
    traced.record("work", RECORDED, 0.0)
    (span,) = kept.find(format_trace_id(int(RECORDED[3:35], 16)))
    attributes = span.resource.attributes
    assert (attributes["service.name"], attributes["service.instance.id"]) == ("sage-gateway", "gateway-1")
