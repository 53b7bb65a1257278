"""A report is written whole, under its own name, and never over another."""

from __future__ import annotations

import math
from pathlib import Path

import orjson
import pytest
from fixtures.arrivals import burst

from sage_benchmark.report.bars import Bar
from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.metrics import SystemRuns, measure
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.report.timeline import Timeline, TimelineSpan
from sage_benchmark.report.writing import write_report
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig


def system(name: str, load: float, ttft: float) -> SystemRuns:
    outcomes = [RequestOutcome(a, 0.0, ttft, ttft + 1, a.output_tokens, 200, engine="e1") for a in burst(10)]
    outcomes.append(RequestOutcome(burst(1)[0], 0.0, status=503, error="http_503"))
    runs = [measure(outcomes, 10.0, EngineModelConfig()), measure(outcomes[:5], 10.0, EngineModelConfig())]
    return SystemRuns(name, load, runs, [ttft] * 10 + [math.inf], {"scheduler": 1.5})


REPORT = BenchmarkReport(
    "Policies",
    "sage bench policies --repetitions 2",
    {"engines": 3},
    [system("fifo", 1.0, 0.4), system("fifo", 1.3, 2.0), system("hybrid", 1.0, 0.1), system("hybrid", 1.3, 0.2)],
    [Bar("goodput over fifo", 1.7, 1.5, "×", at_most=False), Bar("TTFT p99", 900, 500, "ms")],
    ["Engines are simulated."],
    [Timeline("hybrid", [TimelineSpan("queued", 0, 20), TimelineSpan("tokens", 20, 900)], [20.0, 500.0])],
)


def test_a_report_has_json_markdown_and_charts_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = write_report(tmp_path, "policies", "20260102-030405", REPORT)
    assert folder == tmp_path / "policies-20260102-030405"
    images = {"ttft-cdf-1.png", "ttft-cdf-1.3.png", "attainment.png", "goodput.png", "timeline.png"}
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", *images}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in images)
    text = (folder / "report.md").read_text()
    assert all(f"]({name})" in text for name in images)
    with pytest.raises(FileExistsError):
        write_report(tmp_path, "policies", "20260102-030405", REPORT)


def test_the_tables_state_what_was_measured(tmp_path: Path) -> None:
    folder = write_report(tmp_path, "policies", "1", REPORT)
    text = (folder / "report.md").read_text()
    assert "| goodput over fifo | 1.7 × | ≥ 1.5 × | yes |" in text
    assert "| TTFT p99 | 900 ms | ≤ 500 ms | **no** |" in text
    assert "| hybrid | 1.3 | 2 | 0.75 (0.50-1.00) |" in text
    assert "| fifo | 1.3 | http_503 | 0 (0-1) |" in text
    assert "| fifo | 1 | scheduler | 1.5 | 93750 |" in text
    value = orjson.loads((folder / "report.json").read_bytes())
    assert value["systems"][2]["figures"]["goodput"]["mean"] == pytest.approx(0.75)
    assert value["bars"][1]["reached"] is False
    assert value["systems"][0]["runs"][0]["by_class"]["interactive"]["ttft"]["p50"] == pytest.approx(400)
