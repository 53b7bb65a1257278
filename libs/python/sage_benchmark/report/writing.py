"""Writing a report: JSON, Markdown and charts in a folder of its own."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import orjson

from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.charts import draw_cdf, draw_over_load, draw_timeline
from sage_benchmark.report.markdown import render_markdown
from sage_benchmark.report.metrics import Spread
from sage_control_plane.request.classification import DEFAULT_LEVEL
from sage_control_plane.request.request import ServiceClass

# Charts over several loads: title, file, figure, label of its axis, and where that ends.
OVER_LOAD = (
    (
        "Interactive attainment against offered load",
        "attainment.png",
        "by_class.interactive.attainment",
        "share within every target",
        1.02,
    ),
    ("Goodput against offered load", "goodput.png", "goodput", "requests/s within every target", None),
)


def write_report(root: Path, name: str, timestamp: str, report: BenchmarkReport) -> Path:
    """Write ``report.json``, ``report.md`` and the charts to ``root/name-timestamp`` and return that folder.

    Args:
        root: usually ``bench-results``.
        timestamp: when the benchmark was run, as it is to stand in the folder's name.

    Raises:
        FileExistsError: the folder exists; results are never mixed.
    """
    folder = root / f"{name}-{timestamp}"
    folder.mkdir(parents=True, exist_ok=False)
    charts = _draw(folder, report)
    (folder / "report.json").write_bytes(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2))
    (folder / "report.md").write_text(render_markdown(report, charts), encoding="utf-8")
    return folder


def over_load(report: BenchmarkReport, figure: str) -> dict[str, list[tuple[float, Spread]]]:
    """Return a figure of each system, by the load at which it was measured."""
    points: dict[str, list[tuple[float, Spread]]] = defaultdict(list)
    for system in report.systems:
        value = system.figures.get(figure)
        if value is not None:
            points[system.name].append((system.load, value))
    return points


def _draw(folder: Path, report: BenchmarkReport) -> list[tuple[str, str]]:
    charts: list[tuple[str, str]] = []
    target = float(DEFAULT_LEVEL[ServiceClass.INTERACTIVE].ttft_ms)
    for load in sorted({system.load for system in report.systems}):
        values = {s.name: s.ttft_seconds for s in report.systems if s.load == load and s.ttft_seconds}
        if values:
            title = f"Time to first token of interactive requests at load {load:g}"
            draw_cdf(folder / f"ttft-cdf-{load:g}.png", title, values, target)
            charts.append((title, f"ttft-cdf-{load:g}.png"))
    if len({system.load for system in report.systems}) > 1:
        for title, file, figure, label, top in OVER_LOAD:
            draw_over_load(folder / file, title, over_load(report, figure), label, top)
            charts.append((title, file))
    if report.timelines:
        draw_timeline(folder / "timeline.png", report.timelines)
        charts.append(("One request from arrival to last token", "timeline.png"))
    return charts
