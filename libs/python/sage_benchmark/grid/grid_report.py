"""What a grid says: the worst cell, the median, a table and a heat map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from sage_benchmark.grid.cell_result import LEARNED_AFTER, CellResult
from sage_benchmark.grid.grid_run import GridPlan
from sage_benchmark.report.charts import HeatMapPanel, draw_heat_map
from sage_benchmark.report.markdown import table

COLUMNS = (
    "cell",
    "ratio",
    "interactive",
    "best heuristic",
    "bound",
    "TTFT p50",
    "p95",
    "p99 ms",
    "TPOT p50",
    "p95 ms",
    "bulk tokens/s",
    "bulk done",
    "goodput ratio",
    "chats",
)


@dataclass(frozen=True, slots=True)
class Summary:
    """The worst and the median of some cells' ratios to their yardstick, interactive attainment and goodput.

    Attributes:
        worst: the cell with the lowest ratio of interactive attainment.
    """

    cells: int
    worst: CellResult
    lowest: float
    median: float
    goodput_lowest: float
    goodput_median: float
    ttft_p95_highest_ms: float

    @staticmethod
    def of(results: Sequence[CellResult]) -> Summary:
        """Summarise at least one result that has a yardstick."""
        judged = [(result.ratio, result) for result in results if result.ratio is not None]
        lowest, worst = min(judged, key=lambda item: item[0])
        goodput = [result.goodput_ratio for result in results if result.goodput_ratio is not None]
        return Summary(
            len(judged),
            worst,
            lowest,
            median(ratio for ratio, _ in judged),
            min(goodput),
            median(goodput),
            max(result.played.ttft.p95 for result in results),
        )


@dataclass(frozen=True)
class GridReport:
    """Everything that a grid found.

    Attributes:
        command: makes the report again.
    """

    command: str
    plan: GridPlan
    results: Sequence[CellResult]

    def by_policy(self) -> Iterator[tuple[str, list[CellResult]]]:
        """Yield each policy's results."""
        for policy in dict.fromkeys(result.policy for result in self.results):
            yield policy, [result for result in self.results if result.policy == policy]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "command": self.command,
            "grid": asdict(self.plan.grid),
            "cells": [result.to_json() for result in self.results],
        }


def learned_ratios(results: Sequence[CellResult]) -> list[tuple[float, CellResult]]:
    """Attainment not told to attainment told, of the chats after the first requests, for each cell played both ways."""
    told = {(r.policy, r.workload): r.played.learned for r in results if r.told}
    found = []
    for result in results:
        least, known = result.played.learned, told.get((result.policy, result.workload))
        if not result.told and least is not None and known is not None:
            found.append((least / known if known else 1.0, result))
    return found


def render_grid(report: GridReport) -> str:
    """Render a report as Markdown."""
    parts = ["# Policies over many engines and loads", f"```\n{report.command}\n```"]
    for policy, results in report.by_policy():
        parts += [f"## {policy}", *_summaries(results), f"![{policy}]({_chart(policy)})"]
    rows = [_row(result) for result in sorted(report.results, key=lambda result: result.ratio or 0.0)]
    parts += ["## Cells, the worst first", table(COLUMNS, rows)]
    return "\n\n".join(parts) + "\n"


def write_grid(root: Path, timestamp: str, report: GridReport) -> Path:
    """Write JSON, Markdown and a heat map for each policy to ``root/grid-timestamp``; return that folder.

    Raises:
        FileExistsError: the folder exists; results are never mixed.
    """
    folder = root / f"grid-{timestamp}"
    folder.mkdir(parents=True, exist_ok=False)
    for policy, results in report.by_policy():
        title = f"{policy}: interactive attainment to the {_yardstick(results)}"
        draw_heat_map(folder / _chart(policy), title, _panels(results))
    (folder / "report.json").write_bytes(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2))
    (folder / "report.md").write_text(render_grid(report), encoding="utf-8")
    return folder


def _chart(policy: str) -> str:
    return f"heat-map-{policy}.png"


def _yardstick(results: Sequence[CellResult]) -> str:
    return "bound" if all(result.bound for result in results) else "best heuristic"


def _summaries(results: Sequence[CellResult]) -> Iterator[str]:
    if not any(result.ratio is not None for result in results):
        yield "No yardstick was asked for, so there are no ratios."
        return
    rows = []
    for name, some in (
        ("all", results),
        ("told", [result for result in results if result.told]),
        ("not told", [result for result in results if not result.told]),
    ):
        if some:
            found = Summary.of(some)
            figures = (found.lowest, found.median, found.goodput_lowest, found.goodput_median)
            rows.append(
                (
                    name,
                    str(found.cells),
                    *(f"{figure:.3f}" for figure in figures),
                    f"{found.ttft_p95_highest_ms:.0f}",
                    found.worst.name(),
                )
            )
    yield f"Ratios to the {_yardstick(results)}."
    yield table(
        ("cells", "count", "worst", "median", "goodput worst", "median", "highest TTFT p95 ms", "the worst cell"), rows
    )
    learned = learned_ratios(results)
    if learned:
        worst, where = min(learned, key=lambda item: item[0])
        yield (
            f"Capacity not told to capacity told, attainment after {LEARNED_AFTER} requests: worst {worst:.3f} "
            f"({where.workload.name()}), median {median(ratio for ratio, _ in learned):.3f}."
        )


def _row(result: CellResult) -> tuple[str, ...]:
    played = result.played
    return (
        result.name(),
        _figure(result.ratio),
        _figure(played.reach.attainment),
        _figure(result.best.attainment if result.best else None),
        _figure(result.bound.attainment if result.bound else None),
        f"{played.ttft.p50:.0f}",
        f"{played.ttft.p95:.0f}",
        f"{played.ttft.p99:.0f}",
        f"{played.tpot.p50:.1f}",
        f"{played.tpot.p95:.1f}",
        f"{played.bulk_tokens_per_second:.0f}",
        f"{played.bulk_done:.2f}",
        _figure(result.goodput_ratio),
        str(played.chats),
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _panels(results: Sequence[CellResult]) -> list[HeatMapPanel]:
    """One panel for each speed; where several seeds fall on a cell, the worst of them counts."""
    panels = []
    for speed in dict.fromkeys(result.workload.speed for result in results):
        values: dict[tuple[str, str], float] = {}
        for result in results:
            load = result.workload
            if load.speed == speed and result.ratio is not None:
                row = f"{load.seats} seats, CV {load.cv:g}, {'told' if result.told else 'not told'}"
                cell = (row, f"{load.share:g} / {load.load:g}")
                values[cell] = min(values.get(cell, result.ratio), result.ratio)
        panels.append(HeatMapPanel(f"{speed} engines", "chat share / load", values))
    return panels
