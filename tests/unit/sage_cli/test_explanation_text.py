from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from sage_cli.explanation_text import explanation_text
from sage_client.management.views import (
    CandidateView,
    ClassificationView,
    DispatchView,
    Explanation,
    FailedModelView,
    RoutedModelView,
)

CHAT = ClassificationView(
    "llm_chat", "main", "m", "interactive", "high", 500, 50, 0, 120, 64, True, False, True, ("endpoint says chat",)
)
FIRST = DispatchView("a", 1, False, 0.4, 0.4, "interactive", (CandidateView("a", 0.9),), None, "engine_failed", "reset")
SECOND = DispatchView(
    "b", 2, True, 1500.0, 0.5, "", tuple(CandidateView(f"b{n}", 0.5) for n in range(12)), 90.0, "", ""
)
EXPLANATION = Explanation(
    "req-1", "s1", "finished", "ann", CHAT, "hybrid", "interactive", 200_000, 10, 0.5, "b", 90.0, 110.0, 2500.0,
    (FIRST, SECOND), "", "",
)  # fmt: skip


def rendered(explanation: Explanation, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(explanation_text(explanation, width))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_finished_request_is_told_whole() -> None:
    text = rendered(EXPLANATION)
    for part in (
        "req-1  finished on b, 3 min ago",
        "llm_chat for m by ann, 120 tokens in, 64 expected out",
        "interactive, priority high; first token 500 ms, between tokens 50 ms",
        "endpoint says chat",
        "s1, policy hybrid, band interactive",
        "110 ms, predicted 90 ms",
        "2.5 s",
        "a (0.900)",
        "reset (engine_failed)",
        "2 (hedge)",
        "and 4 more",
    ):
        assert part in text


def test_the_callers_id_is_shown_beside_the_meshs() -> None:
    assert "caller's id" not in rendered(EXPLANATION)
    lines = rendered(replace(EXPLANATION, correlation_id="nightly [7]")).splitlines()
    assert lines[0].startswith("req-1  finished")
    assert lines[1].rstrip().split(maxsplit=2) == ["caller's", "id", "nightly [7]"]


def test_a_request_for_a_model_route_tells_its_name_and_what_was_tried_before() -> None:
    assert "asked for as" not in rendered(EXPLANATION)
    failed = FailedModelView("big", "context_length", "context_length_exceeded", "9 tokens are too many")
    lines = rendered(replace(EXPLANATION, routed=RoutedModelView("best", ("best", "large"), (failed,)))).splitlines()
    assert [line.strip() for line in lines if line.startswith(("model", "fell back"))] == [
        "model        asked for as best, then large",
        "fell back    from big on context length: 9 tokens are too many (context_length_exceeded)",
    ]


def test_an_interrupted_request_says_so() -> None:
    assert "interrupted" not in rendered(EXPLANATION)
    assert "once, for more urgent work" in rendered(replace(EXPLANATION, interruptions=1))
    stopped = replace(FIRST, error_code="interrupted", error_message="its seat was needed for interactive work")
    text = rendered(replace(EXPLANATION, interruptions=2, dispatches=(stopped, SECOND)))
    assert "2 times, for more urgent work" in text
    assert "its seat was needed for interactive work" in text


def test_a_refused_request_begins_with_why() -> None:
    refused = replace(
        EXPLANATION, state="refused", engine_id="", dispatches=(), error_code="no_engine",
        error_message="no engine serves it", predicted_ttft_ms=None, actual_ttft_ms=None,
    )  # fmt: skip
    lines = rendered(refused).splitlines()
    assert lines[0].startswith("req-1  refused, 3 min ago")
    assert "no engine serves it (no_engine)" in lines[1]
    assert "first token 500 ms" in rendered(refused)
    assert "considered" not in rendered(refused)


def test_what_was_only_found_running_is_shown_without_its_request() -> None:
    adopted = replace(
        EXPLANATION, state="running", tenant="", classification=None, policy="", band="", dispatches=(),
        ended_after_ms=None, predicted_ttft_ms=None, actual_ttft_ms=None,
    )  # fmt: skip
    text = rendered(adopted)
    assert "running on b" in text
    assert "decided by  s1" in text


def test_markup_in_what_callers_send_is_shown_as_it_is() -> None:
    assert "[bold]" in rendered(replace(EXPLANATION, request_id="[bold]"))
    assert "[red]x" in rendered(replace(EXPLANATION, error_code="c", error_message="[red]x"))


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_engines_name_is_broken_and_no_failure_left_out_in_a_narrow_terminal(width: int) -> None:
    name = "all-MiniLM-L6-v2-aa8b"
    first, second = (replace(one, engine_id=name, candidates=(CandidateView(name, 0.5),)) for one in (FIRST, SECOND))
    text = rendered(replace(EXPLANATION, dispatches=(first, second)), width)
    assert text.count(name) == 4
    assert "reset" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "failed" not in rendered(replace(EXPLANATION, dispatches=(second,)), width)


def test_a_candidate_that_has_the_prompt_cached_is_said_to() -> None:
    candidates = (CandidateView("a", 0.9, 0.75), CandidateView("b", 0.5, 0.0), CandidateView("c", 0.4))
    text = rendered(replace(EXPLANATION, dispatches=(replace(FIRST, candidates=candidates),)))
    assert "a (0.900, 75% cached)" in " ".join(text.split())
    assert text.count("cached") == 1
