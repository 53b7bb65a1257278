"""The benchmark of pipelines written down: JSON, Markdown and a chart."""

from __future__ import annotations

from pathlib import Path

import orjson

from sage_benchmark.dataflow.dataflow_benchmark import DataflowResult
from sage_benchmark.dataflow.measurement import Figure

_VERDICTS = {True: "reached", False: "MISSED", None: ""}


COLUMNS = ("figure", "measured", "a CPU second", "bar", "")


def rows(result: DataflowResult) -> list[tuple[str, str, str, str, str]]:
    """Return the cells of ``COLUMNS`` as they are shown."""
    return [_row(figure) for figures in result.figures.values() for figure in figures]


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    unit = f" {figure.unit}" if figure.unit else ""
    bar = "" if figure.bar is None else f"{'≤' if figure.at_most else '≥'} {_number(figure.bar)}{unit}"
    by_cpu = "" if figure.by_cpu is None else _number(figure.by_cpu)
    return figure.name, f"{_number(figure.value)}{unit}", by_cpu, bar, _VERDICTS[figure.is_reached]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_report(result: DataflowResult, folder: Path) -> None:
    """Write ``result.json``, ``report.md`` and ``chart.png``. The chart needs the extra ``bench``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_bytes(orjson.dumps(result.to_json(), option=orjson.OPT_INDENT_2))
    (folder / "report.md").write_text(render_markdown(result), encoding="utf-8")
    _write_chart(result, folder / "chart.png")


def render_markdown(result: DataflowResult) -> str:
    """Render the table."""
    lines = ["# Pipelines", "", f"{result.plan.events:,} events, best of {result.plan.repetitions}, one core.", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows(result)]
    lines += ["", *(f"Failed: {reason}" for reason in result.failed.values())]
    return "\n".join(lines) + "\n"


def _write_chart(result: DataflowResult, path: Path) -> None:
    from matplotlib.figure import Figure as Canvas

    rates = [figure for figures in result.figures.values() for figure in figures if figure.unit == "events/s"]
    canvas = Canvas(figsize=(9, 0.5 + 0.4 * max(len(rates), 1)), layout="constrained")
    axes = canvas.subplots()
    places = range(len(rates))
    axes.barh(places, [figure.value / 1e6 for figure in rates], color="#3b6ea5")
    for place, figure in zip(places, rates, strict=True):
        if figure.bar is not None:
            axes.plot([figure.bar / 1e6] * 2, [place - 0.4, place + 0.4], color="#d55e00", linewidth=2)
    axes.set_yticks(places, [figure.name for figure in rates])
    axes.invert_yaxis()
    axes.set(title="Events a second on one core; orange: to reach", xlabel="million events/s")
    canvas.savefig(path, dpi=130)
