"""A benchmark's report as values: what was run, what it gave, which figures it had to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sage_benchmark.report.bars import Agreement, Bar
from sage_benchmark.report.metrics import SystemRuns
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.report.timeline import Timeline


@dataclass(frozen=True)
class BenchmarkReport:
    """Everything that a benchmark found.

    Attributes:
        command: makes the report again.
        settings: what was run, in words and numbers.
        notes: what a reader must know to read the figures rightly.
        tables: what this kind of benchmark shows first.
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
    tables: Sequence[ReportTable] = ()

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
            "tables": [asdict(table) for table in self.tables],
            "bars": [{**asdict(bar), "reached": bar.reached} for bar in self.bars],
            "agreements": [{**asdict(item), "points": item.points} for item in self.agreements],
            "notes": list(self.notes),
            "timelines": [asdict(timeline) for timeline in self.timelines],
        }
