"""Spans of a request, from what the schedulers explain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sage_client.management.views import CandidateView, ClassificationView, DispatchView, Explanation
from sage_studio.timeline import timeline

TRY = DispatchView("a", 1, False, 12.0, 10.0, "normal", (CandidateView("a", 0.5),), 80.0, "", "")
CHAT = ClassificationView(
    "llm_chat", "main", "m", "interactive", "normal", 500, 50, 0, 10, 40, True, False, True, ("a chat",)
)
TOLD = Explanation(
    request_id="r",
    scheduler_id="s1",
    state="finished",
    tenant="ann",
    classification=None,
    policy="hybrid",
    band="normal",
    age_ms=5000,
    decided_ms_ago=0,
    queue_ms=10.0,
    engine_id="a",
    predicted_ttft_ms=80.0,
    actual_ttft_ms=88.0,
    ended_after_ms=500.0,
    dispatches=(TRY,),
    error_code="",
    error_message="",
    output_tokens=40,
)


def spans(told: Explanation) -> list[tuple[str, str, float, float]]:
    return [(span.phase, span.title, span.begin_ms, span.end_ms) for span in timeline(told).spans]


def test_an_answered_request_goes_from_the_edge_to_its_last_token() -> None:
    drawn = timeline(TOLD)
    assert spans(TOLD) == [
        ("edge", "gateway, classifier", 0.0, 2.0),
        ("queued", "queued", 2.0, 12.0),
        ("first_token", "prefill on a, to the first token", 12.0, 100.0),
        ("tokens", "tokens", 100.0, 500.0),
    ]
    assert (drawn.end_ms, drawn.running) == (500.0, False)
    assert [span.note for span in drawn.spans][2:] == ["predicted 80 ms", "40 tokens"]


def test_a_second_try_follows_the_error_of_the_first() -> None:
    failed = replace(TRY, error_code="engine_failed", error_message="connection reset")
    second = replace(TRY, engine_id="b", tries=2, at_ms=60.0, queue_ms=20.0)
    told = replace(TOLD, engine_id="b", dispatches=(failed, second), ended_after_ms=300.0)
    assert spans(told)[2:] == [
        ("failed", "try 1 on a", 12.0, 40.0),
        ("queued", "queued again", 40.0, 60.0),
        ("first_token", "try 2 on b, to the first token", 60.0, 148.0),
        ("tokens", "tokens", 148.0, 300.0),
    ]
    assert timeline(told).spans[2].note == "engine_failed: connection reset"


def test_a_hedge_runs_beside_the_first_try_and_the_winner_has_the_tokens() -> None:
    hedge = replace(TRY, engine_id="b", tries=2, at_ms=112.0, hedge=True)
    told = replace(TOLD, engine_id="b", dispatches=(TRY, hedge), actual_ttft_ms=50.0)
    assert spans(told)[2:] == [
        ("first_token", "try 1 on a", 12.0, 500.0),
        ("first_token", "hedge on b, to the first token", 112.0, 162.0),
        ("tokens", "tokens", 162.0, 500.0),
    ]
    assert timeline(told).spans[2].note == "the other attempt began first"


def test_a_request_that_waits_or_was_refused_has_only_its_queue() -> None:
    waits = replace(
        TOLD, state="queued", age_ms=300, queue_ms=290.0, dispatches=(), ended_after_ms=None, actual_ttft_ms=None
    )
    assert spans(waits)[-1] == ("queued", "queued", 10.0, 300.0)
    assert timeline(waits).running
    refused = replace(waits, state="refused", ended_after_ms=290.0, error_code="overloaded", error_message="too many")
    assert timeline(refused).spans[-1].note == "overloaded: too many"


def test_a_running_request_ends_now() -> None:
    running = replace(TOLD, state="running", ended_after_ms=None, age_ms=900, output_tokens=None)
    assert spans(running)[-1] == ("tokens", "tokens", 100.0, 900.0)


@pytest.mark.parametrize("ended_after_ms", [0.0, 50.0, 99.0])
def test_no_span_ends_before_it_begins(ended_after_ms: float) -> None:
    told = replace(TOLD, ended_after_ms=ended_after_ms)
    assert all(0.0 <= span.begin_ms <= span.end_ms for span in timeline(told).spans)


def test_an_answer_that_is_not_streamed_is_one_span() -> None:
    whole = replace(TOLD, classification=replace(CHAT, streaming=False))
    assert spans(whole)[2:] == [("tokens", "answer from a", 12.0, 500.0)]
    assert timeline(whole).spans[2].note == "40 tokens, not streamed"
