from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from sage_benchmark.dataflow.dataflow_benchmark import DataflowResult, run
from sage_benchmark.dataflow.dataflow_report import rows, write_report
from sage_benchmark.dataflow.events import events
from sage_benchmark.dataflow.measurement import DataflowPlan, Figure
from sage_benchmark.dataflow.measurements import MEASUREMENTS
from sage_benchmark.dataflow.nexmark import tables
from sage_common.errors import InvalidRequestError

EVENT_TIME = ("tumbling", "sliding", "session", "interval-join", "tumbling-jsonl", "stateless")


@pytest.mark.parametrize("name", EVENT_TIME)
def test_a_measurement_checks_what_its_pipeline_gives(name: str, tmp_path: Path) -> None:
    figures = MEASUREMENTS[name](DataflowPlan(events=4_000, repetitions=1), tmp_path)
    assert figures[0].value > 0
    assert figures[0].bar is not None
    assert figures[0].by_cpu


def test_the_same_seed_gives_the_same_events() -> None:
    assert events(500, 3).equals(events(500, 3))
    assert not events(500, 3).equals(events(500, 4))
    assert all(frame.equals(tables(500, 3)[name]) for name, frame in tables(500, 3).items())


def test_an_unknown_measurement_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequestError, match="no measurement 'tumblin'; known: tumbling"):
        run(DataflowPlan(), ["tumblin"], lambda step: None)


def test_a_report_says_which_bars_were_reached(tmp_path: Path) -> None:
    figures = [Figure("fast", 2e6, bar=1e6), Figure("slow", 5.0, "ms", 4.0, at_most=True), Figure("beside", 1.5e6)]
    result = DataflowResult(DataflowPlan(), {"one": figures}, {"two": "two failed: no room"})
    assert [row[-1] for row in rows(result)] == ["reached", "MISSED", ""]
    assert not result.all_reached
    write_report(result, tmp_path)
    assert orjson.loads((tmp_path / "result.json").read_bytes())["figures"]["one"][0]["reached"] is True
    assert "| slow | 5 ms |  | ≤ 4 ms | MISSED |" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "chart.png").stat().st_size > 1000
