"""A trace in the terminal: the tree of its spans, their times, and nothing wider than the screen."""

from __future__ import annotations

import io

from rich.console import Console

from sage_cli.trace_waterfall import waterfall
from sage_client.management.traces import SpanEventView, SpanView

MS = 1_000_000


def span(
    span_id: str,
    parent_id: str,
    service: str,
    name: str,
    at_ms: float,
    took_ms: float,
    *events: SpanEventView,
    error: str = "",
) -> SpanView:
    began = 1_700_000_000_000 * MS + int(at_ms * MS)
    return SpanView("ab" * 16, span_id, parent_id, service, f"{service}-1", name, began, took_ms, {}, events, error)


FAILED_OVER = [
    span("1", "0", "gateway", "POST /v1/chat/completions", 0, 120),
    span("2", "1", "gateway", "chat talks", 1, 118, SpanEventView("first_token", 100.0)),
    span("3", "2", "classifier", "classify", 2, 0.2),
    span("4", "2", "scheduler", "queue", 3, 5),
    span("5", "2", "llm-coordinator", "chat talks on chat-0", 8, 20, error="engine_failed"),
    span("6", "2", "scheduler", "queue again", 28, 10),
    span("7", "2", "llm-coordinator", "chat talks on chat-1", 38, 80, SpanEventView("first_token", 62.0)),
]


def drawn(spans: list[SpanView], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(waterfall(spans, width))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_trace_fits_eighty_columns_and_shows_each_step_below_what_it_is_part_of() -> None:
    lines = drawn(FAILED_OVER)
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"trace {'ab' * 16}  120 ms, 7 spans of 4 services"
    steps = [line[:38].rstrip() for line in lines[2:]]
    assert steps[0].startswith("gateway POST /v1/chat")
    assert steps[1].startswith("└ gateway chat talks")
    assert steps[2].startswith("  │ · first token")
    assert [step.split()[1] for step in steps[3:6]] == ["classifier", "scheduler", "llm-coordinator"]


def test_bars_stand_where_their_times_are() -> None:
    lines = drawn(FAILED_OVER)
    whole, _, _, _, queue, _, _, answer, _ = lines[2:]
    assert whole.count("█") > answer.count("█") > queue.count("█")
    assert whole.index("█") < answer.index("█")


def test_an_error_is_told_beside_its_step() -> None:
    lines = drawn([span("1", "", "gateway", "chat", 0, 1.5, error="no_model")])
    assert any("gateway chat: no_model" in line for line in lines)


def test_clocks_that_disagree_break_nothing() -> None:
    lines = drawn([span("2", "1", "scheduler", "queue", -5000, 1), span("1", "", "gateway", "chat", 0, 10)])
    assert max(map(len, lines)) <= 80
    assert len(lines) == 4


def test_a_trace_without_time_has_no_bars() -> None:
    assert "█" not in "".join(drawn([span("1", "", "gateway", "chat", 0, 0)]))
