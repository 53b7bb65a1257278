"""What a benchmark of this room found: tables, figures with their bars, and one chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from sage_benchmark.report.bars import Bar
from sage_benchmark.report.report_table import ReportTable


@dataclass(frozen=True)
class LineChart:
    """Lines over a common axis: points by the name of the line."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class ResilienceResult:
    """Everything that was measured.

    Attributes:
        plan: what was run, as values.
        figures: every number, by name.
    """

    title: str
    plan: Mapping[str, Any]
    figures: Mapping[str, Any]
    tables: Sequence[ReportTable]
    bars: Sequence[Bar]
    chart: LineChart | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "title": self.title,
            "plan": dict(self.plan),
            "figures": dict(self.figures),
            "bars": [{**asdict(bar), "reached": bar.reached} for bar in self.bars],
        }

    def write(self, directory: Path) -> list[Path]:
        """Write ``result.json`` and ``chart.png``, where there is one; return their paths. Needs matplotlib."""
        directory.mkdir(parents=True, exist_ok=True)
        written = [directory / "result.json"]
        written[0].write_bytes(orjson.dumps(self.to_json(), option=orjson.OPT_INDENT_2))
        if self.chart is not None:
            written.append(directory / "chart.png")
            _draw(self.chart, written[1])
        return written


def _draw(chart: LineChart, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, points), style in zip(chart.lines.items(), ("o-", "s--", "^:", "x-."), strict=False):
        axes.plot([x for x, _ in points], [y for _, y in points], style, label=name, markersize=4)
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=130)
