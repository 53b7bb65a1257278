"""Charts as PNG files, drawn with matplotlib's objects alone: no window, no state shared between charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sage_benchmark.report.metrics import Spread
from sage_benchmark.report.timeline import Timeline

SIZE_INCHES = (7.5, 4.2)
DPI = 150
# Distinct in colour and in grey (Okabe and Ito's palette).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")


def draw_cdf(path: Path, title: str, seconds: Mapping[str, Sequence[float]], target_ms: float | None = None) -> None:
    """Draw for each system the share of all requests whose latency is at most x.

    Infinite values never came: they count in the share and are not drawn, so a curve that ends below 1 says how many.
    """
    figure, axes = _axes(title, "time from the scheduled arrival (log)", "share of requests")
    for index, (name, values) in enumerate(seconds.items()):
        ordered = sorted(value for value in values if isfinite(value))
        shares = [(rank + 1) / len(values) for rank in range(len(ordered))]
        axes.step([max(value * 1000, 0.1) for value in ordered], shares, where="post", label=name, color=_colour(index))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(FuncFormatter(_duration))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if target_ms is not None:
        axes.axvline(target_ms, color="#666666", linestyle=":", linewidth=1, label=f"target {target_ms:g} ms")
    axes.set_ylim(0, 1.02)
    _save(figure, axes, path)


def draw_over_load(
    path: Path, title: str, points: Mapping[str, Sequence[tuple[float, Spread]]], y_label: str, top: float | None
) -> None:
    """Draw a figure against the load for each system; bars go from the lowest repetition to the highest.

    Args:
        top: where the figure's axis ends; None for where the figures end.
    """
    figure, axes = _axes(title, "offered load, multiples of saturation", y_label)
    for index, (name, given) in enumerate(points.items()):
        ordered = sorted(given, key=lambda point: point[0])
        means = [value.mean for _, value in ordered]
        errors = [[v.mean - v.low for _, v in ordered], [v.high - v.mean for _, v in ordered]]
        loads = [load for load, _ in ordered]
        axes.errorbar(loads, means, yerr=errors, marker="o", capsize=3, label=name, color=_colour(index))
    axes.set_ylim(0, top)
    _save(figure, axes, path)


def draw_timeline(path: Path, timelines: Sequence[Timeline]) -> None:
    """Draw the life of a request from its scheduled arrival to its last token, one row for each timeline."""
    figure, axes = _axes("One request from arrival to last token", "milliseconds from the scheduled arrival", "")
    labels = list(dict.fromkeys(span.label for timeline in timelines for span in timeline.spans))
    shown: set[str] = set()
    for row, timeline in enumerate(timelines):
        for span in timeline.spans:
            label = span.label if span.label not in shown else None
            shown.add(span.label)
            colour = _colour(labels.index(span.label))
            axes.barh(row, span.end_ms - span.start_ms, left=span.start_ms, height=0.5, color=colour, label=label)
        if timeline.tokens_ms:
            axes.plot(timeline.tokens_ms, [row] * len(timeline.tokens_ms), "|", color="#000000", markersize=6)
    axes.set_yticks(range(len(timelines)), [timeline.title for timeline in timelines])
    axes.invert_yaxis()
    _save(figure, axes, path)


@dataclass(frozen=True, slots=True)
class HeatMapPanel:
    """One field of cells; ``values`` by the names of row and column, which stand in the order in which they come."""

    title: str
    x_label: str
    values: Mapping[tuple[str, str], float]


def draw_heat_map(path: Path, title: str, panels: Sequence[HeatMapPanel]) -> None:
    """Draw shares from 0 to 1 as coloured cells with their figures, the panels side by side."""
    rows = max((len({row for row, _ in panel.values}) for panel in panels), default=1)
    columns = sum(len({column for _, column in panel.values}) for panel in panels)
    size = (4.0 + 0.55 * columns + 1.6 * len(panels), 1.6 + 0.3 * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=11)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        names = [list(dict.fromkeys(cell[side] for cell in panel.values)) for side in (0, 1)]
        shown = [[panel.values.get((row, column), float("nan")) for column in names[1]] for row in names[0]]
        axes.imshow(shown, cmap="RdYlGn", vmin=0.5, vmax=1.0, aspect="auto")
        axes.set_title(panel.title, fontsize=10)
        axes.set_xlabel(panel.x_label)
        axes.set_xticks(range(len(names[1])), names[1], rotation=60, fontsize=7)
        axes.set_yticks(range(len(names[0])), names[0], fontsize=7)
        for y, line in enumerate(shown):
            for x, value in enumerate(line):
                if isfinite(value):
                    colour = "#ffffff" if value < 0.6 or value > 0.93 else "#000000"
                    axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=6, color=colour)
    figure.savefig(path)


def _duration(milliseconds: float, _position: int | None = None) -> str:
    return f"{milliseconds:g} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:g} s"


def _axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)
