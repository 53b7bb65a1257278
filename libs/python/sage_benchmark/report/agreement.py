"""What was measured live, beside what the simulator made of the same requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sage_benchmark.report.bar import Bar
from sage_benchmark.report.spread import Spread

MOST_POINTS = 5.0
ALL = "all"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Attainment of one group of requests under one system and load, live and simulated.

    Attributes:
        group: a service class, or "all".
        requests: of the group, in a repetition.
    """

    system: str
    load: float
    group: str
    requests: float
    live: Spread
    simulated: Spread

    @property
    def points(self) -> float:
        """Live less simulated, in percentage points."""
        return 100 * (self.live.mean - self.simulated.mean)


def agreements(
    system: str, load: float, live: Mapping[str, Spread], simulated: Mapping[str, Spread]
) -> list[Agreement]:
    """Hold the figures of live and simulated repetitions against each other: all requests first, then each class."""
    found = [Agreement(system, load, ALL, live["requests"].mean, live["attainment"], simulated["attainment"])]
    prefix, suffix = "by_class.", ".attainment"
    for name, value in live.items():
        if name.startswith(prefix) and name.endswith(suffix) and name in simulated:
            group = name[len(prefix) : -len(suffix)]
            requests = live[f"{prefix}{group}.requests"].mean
            found.append(Agreement(system, load, group, requests, value, simulated[name]))
    return found


def agreement_bars(given: Sequence[Agreement]) -> list[Bar]:
    """For each system and load: how far apart attainment is over all requests, and in the class where it is most."""
    bars = []
    for system, load in dict.fromkeys((item.system, item.load) for item in given):
        items = [item for item in given if (item.system, item.load) == (system, load)]
        worst = max((item for item in items if item.group != ALL), key=lambda item: abs(item.points), default=None)
        for item in items:
            if item.group == ALL or item is worst:
                name = f"live beside simulated, {system} at load {load:g}, {item.group}"
                bars.append(Bar(name, abs(item.points), MOST_POINTS, "points"))
    return bars
