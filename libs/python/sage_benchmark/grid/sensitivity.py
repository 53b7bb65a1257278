"""How much each constant of a policy matters: the grid at half and at double its value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from sage_benchmark.grid.constants import constants_of, with_constant
from sage_benchmark.grid.grid_report import Summary
from sage_benchmark.grid.grid_run import GridPlan, run_variants
from sage_benchmark.report.markdown import table
from sage_common.errors import InvalidRequestError
from sage_control_plane.settings import ControlSettings

FACTORS = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Figures:
    """Ratios of interactive attainment to the bound over the cells, and of goodput."""

    lowest: float
    median: float
    goodput_median: float

    @staticmethod
    def of(summary: Summary) -> Figures:
        """Take them from a summary."""
        return Figures(summary.lowest, summary.median, summary.goodput_median)


@dataclass(frozen=True, slots=True)
class Varied:
    """One constant.

    Attributes:
        at: figures at each factor of ``FACTORS``; None where the value would be out of range.
    """

    name: str
    value: float
    at: tuple[Figures | None, ...]

    @property
    def moved(self) -> float:
        """How far the lowest or the median ratio moves from one factor to another, at most."""
        known = [figures for figures in self.at if figures is not None]
        spans = [[f.lowest for f in known], [f.median for f in known]]
        return max((max(span) - min(span) for span in spans if span), default=0.0)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Every constant of one policy, those that matter most first.

    Attributes:
        command: makes it again.
        cells: that were played for each value.
        unchanged: figures with the constants as they are.
    """

    command: str
    policy: str
    cells: int
    unchanged: Figures
    constants: Sequence[Varied]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def run_sensitivity(
    plan: GridPlan, command: str, progress: Callable[[str], None], processes: int | None = None
) -> Sensitivity:
    """Play the grid with every constant of the plan's first policy as it is, at half and at double its value.

    A constant that is 0 has no half and no double and is left out.

    Raises:
        InvalidRequestError: a cell cannot be.
    """
    policy = plan.grid.policies[0]
    constants = {name: value for name, value in constants_of(plan.control, policy).items() if value}
    variants: dict[tuple[str, float], ControlSettings] = {("", 1.0): plan.control}
    for name, value in constants.items():
        for factor in FACTORS:
            try:
                variants[name, factor] = with_constant(plan.control, name, value * factor)
            except InvalidRequestError:
                continue
    played = run_variants(plan, list(variants.values()), progress, processes)
    figures = {
        variant: Figures.of(Summary.of([result for result in results if result.policy == policy]))
        for variant, results in zip(variants, played, strict=True)
    }
    varied = [
        Varied(name, value, tuple(figures.get((name, factor)) for factor in FACTORS))
        for name, value in constants.items()
    ]
    varied.sort(key=lambda one: -one.moved)
    return Sensitivity(command, policy, len(played[0]), figures["", 1.0], varied)


def render_sensitivity(found: Sensitivity) -> str:
    """Render it as Markdown."""
    columns = ("constant", "value", "worst at half", "at double", "median at half", "at double", "goodput", "at double")
    rows = [
        (one.name, f"{one.value:g}", *(_cell(figures, name) for name in _FIGURES for figures in one.at))
        for one in found.constants
    ]
    as_it_is = found.unchanged
    return (
        "\n\n".join(
            [
                f"# What the constants of {found.policy} matter",
                f"```\n{found.command}\n```",
                f"Ratios of interactive attainment to the bound over {found.cells} cells, the worst and the median, "
                f"and the median ratio of goodput. As they are: worst {as_it_is.lowest:.3f}, median "
                f"{as_it_is.median:.3f}, goodput {as_it_is.goodput_median:.3f}.",
                table(columns, rows),
            ]
        )
        + "\n"
    )


def write_sensitivity(root: Path, timestamp: str, found: Sensitivity) -> Path:
    """Write ``report.json`` and ``report.md`` to ``root/sensitivity-timestamp`` and return that folder.

    Raises:
        FileExistsError: the folder exists; results are never mixed.
    """
    folder = root / f"sensitivity-{timestamp}"
    folder.mkdir(parents=True, exist_ok=False)
    (folder / "report.json").write_bytes(orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2))
    (folder / "report.md").write_text(render_sensitivity(found), encoding="utf-8")
    return folder


_FIGURES = ("lowest", "median", "goodput_median")


def _cell(figures: Figures | None, name: str) -> str:
    return "–" if figures is None else f"{getattr(figures, name):.3f}"
