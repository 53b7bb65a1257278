"""What the scheduler's spans say of a request: how long it waited each time, and where it went, or why it did not."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.control_plane import request

from sage.inference.v1 import request_pb2
from sage_common.errors import ContendedError
from sage_control_plane.request.request import Attempt
from sage_control_plane.tracking.decisions import Dispatch, Refuse
from sage_platform.tracing.kept_spans import KeptSpans
from sage_platform.tracing.tracer import Tracer
from sage_scheduler.queue_spans import QueueSpans

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def kept() -> KeptSpans:
    return KeptSpans(100)


@pytest.fixture
def spans(kept: KeptSpans) -> QueueSpans:
    return QueueSpans(Tracer("scheduler", "scheduler-1", 1.0, [kept]), "main")


def payload(traceparent: str = TRACEPARENT) -> request_pb2.ClassifiedRequest:
    return request_pb2.ClassifiedRequest(
        request=request_pb2.InferenceRequest(request_id="r", traceparent=traceparent, endpoint=1),
        classification=request_pb2.Classification(model="m"),
    )


def dispatch(queue_us: int, tries: int = 1, **fields: Any) -> Dispatch:
    return Dispatch(request("r"), "engine-0", Attempt(1, (7 << 32) + tries), tries, queue_us, **fields)


def seconds(span: Any) -> float:
    return float(round((span.end_time - span.start_time) / 1e9, 6))


def test_each_wait_is_a_span_of_its_own(spans: QueueSpans, kept: KeptSpans) -> None:
    spans.dispatched(payload(), dispatch(2_000, candidates=(("engine-0", 0.75), ("engine-1", 0.5))), "hybrid")
    spans.dispatched(payload(), dispatch(5_000, tries=2, predicted_ttft=0.25, band="late"), "hybrid")

    first, second = kept.find("r")
    assert [(span.name, seconds(span)) for span in (first, second)] == [("queue", 0.002), ("queue again", 0.003)]
    assert first.attributes is not None
    assert second.attributes is not None
    assert first.attributes["sage.candidates"] == "engine-0=0.750 engine-1=0.500"
    assert (first.attributes["sage.tries"], second.attributes["sage.dispatch"]) == (1, 2)
    assert (second.attributes["sage.predicted_ttft_ms"], second.attributes["sage.band"]) == (250.0, "late")


def test_a_hedge_is_told_as_one(spans: QueueSpans, kept: KeptSpans) -> None:
    spans.dispatched(payload(), dispatch(2_000), "hybrid")
    spans.dispatched(payload(), dispatch(2_000, tries=2, hedge_of=1), "hybrid")
    assert [(span.name, seconds(span)) for span in kept.find("r")] == [("queue", 0.002), ("hedge", 0.0)]


def test_a_refusal_is_told_with_its_code(spans: QueueSpans, kept: KeptSpans) -> None:
    spans.refused(payload(), Refuse("r", Attempt(1, 1), ContendedError("full of secrets", code="queue_full")), "hybrid")
    (span,) = kept.find("r")
    assert (span.attributes or {})["error.type"] == "queue_full"
    assert "secrets" not in span.to_json()


@pytest.mark.parametrize("traceparent", ["", TRACEPARENT[:-2] + "00"])
def test_what_is_not_recorded_leaves_nothing(spans: QueueSpans, kept: KeptSpans, traceparent: str) -> None:
    spans.dispatched(payload(traceparent), dispatch(2_000), "hybrid")
    spans.refused(payload(traceparent), Refuse("r", Attempt(1, 1), ContendedError("no")), "hybrid")
    assert kept.find("r") == []
    assert spans._told_us == {}


def test_what_has_ended_is_forgotten(spans: QueueSpans) -> None:
    spans.dispatched(payload(), dispatch(2_000), "hybrid")
    spans.ended("r")
    assert spans._told_us == {}
