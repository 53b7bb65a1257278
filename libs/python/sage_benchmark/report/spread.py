"""What several repetitions of a run say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from sage_benchmark.report.metrics import RunMetrics


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over repetitions; ``deviation`` is the sample's, 0 for a single one."""

    mean: float
    low: float
    high: float
    deviation: float
    repetitions: int

    @staticmethod
    def of(values: Iterable[float]) -> Spread:
        """Summarise at least one value."""
        given = list(values)
        return Spread(fmean(given), min(given), max(given), stdev(given) if len(given) > 1 else 0.0, len(given))


def flatten(metrics: RunMetrics) -> dict[str, float]:
    """Every number of a run under a dotted name, e.g. ``by_class.interactive.ttft.p99``."""
    flat: dict[str, float] = {}
    _flatten(metrics.to_json(), "", flat)
    return flat


def spread(runs: Sequence[RunMetrics]) -> dict[str, Spread]:
    """Spread of every number that is in all repetitions. ValueError without a repetition."""
    if not runs:
        raise ValueError("there is no repetition to summarise")
    flat = [flatten(run) for run in runs]
    return {name: Spread.of(run[name] for run in flat) for name in flat[0] if all(name in run for run in flat)}


def _flatten(value: Mapping[str, Any], prefix: str, flat: dict[str, float]) -> None:
    for name, item in value.items():
        if isinstance(item, Mapping):
            _flatten(item, f"{prefix}{name}.", flat)
        elif isinstance(item, (int, float)):
            flat[f"{prefix}{name}"] = float(item)
