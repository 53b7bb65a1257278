"""The figures of the system's description, drawn from what was seen of one stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sage_benchmark.figures import system_figures
from sage_benchmark.figures.killed_stream import KilledStream
from sage_benchmark.workload.load_settings import LoadSettings

PIPELINE = Path(__file__).parents[4] / "examples/pipelines/ask_documents.yaml"


def dispatch(engine: str, *candidates: str) -> dict[str, Any]:
    return {
        "engine_id": engine,
        "band": "interactive",
        "candidates": [{"engine_id": name, "score": 0.5} for name in candidates],
    }


SEEN = KilledStream(
    tokens_ms=[20.0, 40.0, 60.0, 150.0, 170.0],
    killed_ms=65.0,
    explanation={
        "decisions": [
            {
                "classification": {"service_class": "interactive", "slo_ttft_ms": 500, "slo_tpot_ms": 50},
                "dispatches": [dispatch("a", "a", "b"), dispatch("b", "b")],
            }
        ]
    },
    headers={"x-sage-queue-ms": "0.4"},
)


def test_the_pause_is_the_longest_between_two_tokens() -> None:
    assert SEEN.gap_ms == 90.0


def test_every_figure_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_figures, "kill_a_streams_engine", lambda _directory: SEEN)
    workloads = tuple(LoadSettings(1, 2.0, load) for load in (0.5, 1.0))
    drawn = system_figures.draw_system_figures(tmp_path, PIPELINE, workloads, "sage bench figures", lambda _step: None)
    assert {path.name for path in drawn} == {path.name for path in tmp_path.iterdir()}
    assert all(path.stat().st_size > 1_000 for path in drawn)


def test_the_timeline_has_a_row_for_each_place_where_the_request_was() -> None:
    rows = system_figures._timelines(SEEN)
    assert [row.title for row in rows] == ["queue", "a", "b"]
    assert [list(row.tokens_ms) for row in rows] == [[], [20.0, 40.0, 60.0], [150.0, 170.0]]
    assert rows[2].spans[0].end_ms - rows[2].spans[0].start_ms == 85.0
