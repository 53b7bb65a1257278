"""Figures that have something to reach, and the bars of the benchmarks under load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sage_benchmark.report.metrics import Spread, SystemRuns


@dataclass(frozen=True)
class Bar:
    """A figure beside what it has to reach. ``at_most`` says which side of the bar is good."""

    name: str
    value: float
    bar: float
    unit: str = ""
    at_most: bool = True

    @property
    def reached(self) -> bool:
        """Whether the figure is on the good side."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar


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


INTERACTIVE = "by_class.interactive.attainment"
# Below this load there is room for everybody, and an order of service makes little difference to goodput.
SATURATED = 1.2


def at_each_load(systems: Sequence[SystemRuns]) -> Iterator[tuple[str, list[SystemRuns]]]:
    """Yield the systems at each load, the lowest first, with what tells the bars of several loads apart."""
    loads = sorted({system.load for system in systems})
    for load in loads:
        yield f" at load {load:g}" if len(loads) > 1 else "", [system for system in systems if system.load == load]


def policy_bars(systems: Sequence[SystemRuns]) -> list[Bar]:
    """``hybrid`` beside ``fifo``: interactive attainment, and goodput as a ratio. Nothing where one is missing."""
    return [bar for where, those in at_each_load(systems) for bar in _policy_bars(where, those)]


def _policy_bars(where: str, systems: Sequence[SystemRuns]) -> list[Bar]:
    by_name = {system.name: system.figures for system in systems}
    if not {"hybrid", "fifo"} <= by_name.keys():
        return []
    hybrid, fifo = by_name["hybrid"], by_name["fifo"]
    saturated = systems[0].load >= SATURATED
    bars = []
    if INTERACTIVE in hybrid and INTERACTIVE in fifo:
        bars.append(Bar(f"interactive attainment, hybrid{where}", hybrid[INTERACTIVE].mean, 0.95, at_most=False))
        if saturated:
            bars.append(Bar(f"interactive attainment, fifo{where}", fifo[INTERACTIVE].mean, 0.5))
    if saturated and fifo["goodput"].mean > 0:
        ratio = hybrid["goodput"].mean / fifo["goodput"].mean
        bars.append(Bar(f"goodput, hybrid to fifo{where}", ratio, 1.5, "×", at_most=False))
    return bars


def peer_bars(ours: str, peers: Sequence[str], systems: Sequence[SystemRuns]) -> list[Bar]:
    """The mesh beside each peer: goodput as a ratio, and the slowest first tokens of interactive requests.

    Args:
        ours: name of the system that is held against the ``peers``, which are names too.
    """
    bars: list[Bar] = []
    for where, those in at_each_load(systems):
        by_name = {system.name: system for system in those}
        for peer in peers:
            if ours in by_name and peer in by_name:
                bars += _peer_bars(where, by_name[ours], by_name[peer])
    return bars


def cache_bars(ours: str, peer: str, systems: Sequence[SystemRuns]) -> list[Bar]:
    """The mesh beside a peer that goes by prefix caches: prompt tokens that engines found there, as a ratio."""
    bars: list[Bar] = []
    for where, those in at_each_load(systems):
        cached = {system.name: system.figures["cached_prompt_tokens"].mean for system in those}
        if cached.get(peer) and ours in cached:
            name = f"prompt tokens cached, {ours} to {peer}{where}"
            bars.append(Bar(name, cached[ours] / cached[peer], 1.0, "×", at_most=False))
    return bars


def _peer_bars(where: str, ours: SystemRuns, peer: SystemRuns) -> Iterator[Bar]:
    p99 = "by_class.interactive.ttft.p99"
    figures, theirs = ours.figures, peer.figures
    if theirs["goodput"].mean > 0:
        ratio = figures["goodput"].mean / theirs["goodput"].mean
        yield Bar(f"goodput, {ours.name} to {peer.name}{where}", ratio, 1.0, "×", at_most=False)
    if theirs.get("by_class.interactive.ttft.count") and p99 in figures:
        yield Bar(f"interactive TTFT p99, beside {peer.name}{where}", figures[p99].mean, theirs[p99].mean, "ms")
