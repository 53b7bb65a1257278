"""How many events a second Nexmark's questions take, from files, on one core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sage_benchmark.dataflow.events import write_parquet
from sage_benchmark.dataflow.measurement import DataflowPlan, Figure, rate
from sage_benchmark.dataflow.nexmark import queries, tables
from sage_benchmark.dataflow.timed_pipeline import counted, run

EVENTS_PER_SECOND = 1_000


def nexmark(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure each question; its answer is counted, not kept. The events that it reads count."""
    events = plan.events // 2
    frames = tables(events, plan.seed, EVENTS_PER_SECOND)
    uris = {name: write_parquet(folder, name, frame) for name, frame in frames.items()}
    figures = []
    for name, nodes in queries(uris).items():
        read = sum(frames[table].height for table in frames if table in nodes)
        spent = [run(_counting(nodes), {}) for _ in range(plan.repetitions)]
        figures.append(rate(f"Nexmark {name}", read, spent))
    return figures


def _counting(nodes: dict[str, Any]) -> dict[str, Any]:
    answer = nodes["out"]["in"]
    return {**{name: node for name, node in nodes.items() if name != "out"}, **counted(answer, n="count()")}
