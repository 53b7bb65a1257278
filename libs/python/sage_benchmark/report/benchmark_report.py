"""A benchmark's report as values: what was run, what it gave, which figures it had to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sage_benchmark.report.agreement import Agreement
from sage_benchmark.report.bar import Bar
from sage_benchmark.report.metrics import RunMetrics
from sage_benchmark.report.spread import Spread, spread


@dataclass(frozen=True)
class SystemRuns:
    """One system (a policy, a peer) under one load.

    Attributes:
        name: of the system.
        load: offered, as a multiple of saturation; systems are compared at equal loads.
        runs: one a repetition, each with another seed.
        ttft_seconds: of interactive requests, of all repetitions; infinite where no token came. For the CDF.
        cpu_seconds: CPU time of each service over all repetitions, where it was measured.
    """

    name: str
    load: float
    runs: Sequence[RunMetrics]
    ttft_seconds: Sequence[float] = ()
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Requests sent in all repetitions."""
        return sum(run.requests for run in self.runs)

    @property
    def seconds(self) -> float:
        """Time in which they arrived."""
        return sum(run.seconds for run in self.runs)

    @property
    def figures(self) -> dict[str, Spread]:
        """Spread of every figure over the repetitions."""
        return spread(self.runs)


@dataclass(frozen=True)
class TimelineSpan:
    """A stretch in the life of one request, in milliseconds from its scheduled arrival."""

    label: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Timeline:
    """The life of one request from arrival to last token. ``title`` names it and the system."""

    title: str
    spans: Sequence[TimelineSpan]
    tokens_ms: Sequence[float] = ()


@dataclass(frozen=True)
class BenchmarkReport:
    """Everything that a benchmark found.

    Attributes:
        command: makes the report again.
        settings: what was run, in words and numbers.
        notes: what a reader must know to read the figures rightly.
        agreements: what was measured live beside what the simulator made of the same requests.
    """

    title: str
    command: str
    settings: dict[str, Any]
    systems: Sequence[SystemRuns]
    bars: Sequence[Bar] = ()
    notes: Sequence[str] = ()
    timelines: Sequence[Timeline] = ()
    agreements: Sequence[Agreement] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "title": self.title,
            "command": self.command,
            "settings": self.settings,
            "systems": [
                {
                    "name": system.name,
                    "load": system.load,
                    "runs": [run.to_json() for run in system.runs],
                    "figures": {name: asdict(value) for name, value in system.figures.items()},
                    "cpu_seconds": system.cpu_seconds,
                }
                for system in self.systems
            ],
            "bars": [{**asdict(bar), "reached": bar.reached} for bar in self.bars],
            "agreements": [{**asdict(item), "points": item.points} for item in self.agreements],
            "notes": list(self.notes),
            "timelines": [asdict(timeline) for timeline in self.timelines],
        }
