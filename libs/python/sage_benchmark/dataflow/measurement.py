"""What a measurement of pipelines is given, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias


@dataclass(frozen=True)
class DataflowPlan:
    """What is measured, and how often.

    Attributes:
        events: in the largest stream.
        repetitions: times that each figure is taken; the best counts, as other load on a machine only ever adds.
        seed: of everything that is drawn.
    """

    events: int = 2_000_000
    repetitions: int = 3
    seed: int = 7


@dataclass(frozen=True)
class Figure:
    """One figure of a measurement.

    Attributes:
        bar: what it has to reach; None for a figure beside others.
        at_most: whether it has to stay below the bar.
        runs: what each repetition gave.
        by_cpu: the same rate by the processor time of the measured process: what other load does not change.
    """

    name: str
    value: float
    unit: str = "events/s"
    bar: float | None = None
    at_most: bool = False
    runs: tuple[float, ...] = ()
    by_cpu: float | None = None

    @property
    def is_reached(self) -> bool | None:
        """Whether it is on the good side of the bar; None where there is no bar."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self.__dict__, "reached": self.is_reached}


Measurement: TypeAlias = Callable[[DataflowPlan, Path], list[Figure]]
"""Measures in a process of its own, on one core; the folder is empty and goes away."""


class Spent(NamedTuple):
    """How long a run took, and the processor time of its process."""

    seconds: float
    cpu_seconds: float


def rate(name: str, events: int, spent: Sequence[Spent], bar: float | None = None) -> Figure:
    """Return events a second: the best of several runs."""
    runs = tuple(events / each.seconds for each in spent)
    by_cpu = max(events / each.cpu_seconds for each in spent)
    return Figure(name, max(runs), bar=bar, runs=runs, by_cpu=by_cpu)
