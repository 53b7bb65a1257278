"""``sage bench decisions``: how many requests a second one scheduler decides on, and what its engines cost at rest.

Decisions are counted for each second of the scheduler's processor time, so that other work on the machine matters less;
the executors of the second part are replayed, and share the machine with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sage_benchmark.decisions.service_run import ServiceFigures, ServicePlan, measure_service
from sage_benchmark.report.bars import Bar
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.resilience.resilience_result import ResilienceResult
from sage_common.errors import UnavailableError

HELD_TO_BARS = "hybrid"
# (engines, requests queued throughout, bar).
SIZES = ((100, 10_000, 25_000.0), (1_000, 100_000, 10_000.0))
REST_BAR = 0.10


@dataclass(frozen=True)
class DecisionsPlan:
    """How much to measure.

    Attributes:
        sizes: engines, requests queued, and decisions a second to reach, of each size.
        policies: that are measured at the first size; at the others the one that is held to bars.
        requests: decisions of each measurement.
        executors: over which the engines of the real service are spread: as many a size, or one an engine where there
            are fewer engines.
        rest_seconds: for how long engines at rest are watched.
    """

    sizes: tuple[tuple[int, int, float], ...] = SIZES
    policies: tuple[str, ...] = ("fifo", "priority", "slo_aware", "hybrid")
    requests: int = 20_000
    executors: int = 125
    rest_seconds: float = 20.0
    seed: int = 1


@dataclass(frozen=True)
class BooksRate:
    """Decisions for each second of processor time, through the books alone."""

    policy: str
    engines: int
    queued: int
    compiled: bool
    per_second: float


def run(plan: DecisionsPlan, said: Callable[[str], None] = lambda step: None) -> ResilienceResult:
    """Measure; ``said`` is told each step. Raises UnavailableError where a part does not do its work."""
    books: list[BooksRate] = []
    for index, (engines, queued, _) in enumerate(plan.sizes):
        for policy in plan.policies if index == 0 else (HELD_TO_BARS,):
            said(f"{policy}: {engines:,} engines, {queued:,} queued, virtual time")
            books += measure_books(policy, engines, queued, plan.requests)
    services: list[ServiceFigures] = []
    for engines, queued, _ in plan.sizes:
        said(f"{engines:,} engines, {queued:,} queued, the real scheduler among replayed executors")
        with tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch:
            executors = min(plan.executors, engines)
            one = ServicePlan(engines, executors, queued, plan.requests, plan.rest_seconds, plan.seed)
            services.append(measure_service(one, Path(scratch)))
    return _result(plan, books, services)


def measure_books(policy: str, engines: int, queued: int, requests: int) -> list[BooksRate]:
    """Measure a policy in virtual time: as the sources are, and compiled where `make compiled` was run."""
    found = [_in_process(policy, engines, queued, requests, "--interpreted")]
    as_it_is = _in_process(policy, engines, queued, requests) if _is_compiled() else None
    return found if as_it_is is None else [*found, as_it_is]


def _is_compiled() -> bool:
    from sage_control_plane import manager

    return not str(manager.__file__).endswith(".py")


def _in_process(policy: str, engines: int, queued: int, requests: int, *options: str) -> BooksRate:
    command = [sys.executable, "-m", "sage_benchmark.decisions.books_process", policy, *options]
    command += ["--engines", str(engines), "--queued", str(queued), "--requests", str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return BooksRate(policy, engines, int(found["queued"]), bool(found["compiled"]), float(found["per_second"]))


def _result(plan: DecisionsPlan, books: list[BooksRate], services: list[ServiceFigures]) -> ResilienceResult:
    bars = [
        Bar(
            f"{_size(engines, queued)}, books, {_made(one.compiled)}", one.per_second, bar, "decisions/s", at_most=False
        )
        for engines, queued, bar in plan.sizes
        for one in books
        if one.policy == HELD_TO_BARS and one.engines == engines
    ]
    compiled = _made(_is_compiled())
    for figures, (engines, queued, bar) in zip(services, plan.sizes, strict=True):
        name = f"{_size(engines, queued)}, scheduler process, {compiled}"
        bars.append(Bar(name, figures.per_cpu_second, bar, "decisions/s of CPU", at_most=False))
    for figures in services:
        name = f"{figures.plan.engines:,} engines at rest, scheduler"
        bars.append(Bar(name, figures.rest_cores["scheduler"], REST_BAR, "cores"))
    tables = [
        ReportTable(
            "Through the books, in virtual time",
            "Each is a whole life: submitted behind the queue, dispatched as another ends, first token, finished.",
            ("policy", "engines", "queued", "", "decisions/s of CPU"),
            [
                (one.policy, f"{one.engines:,}", f"{one.queued:,}", _made(one.compiled), f"{one.per_second:,.0f}")
                for one in books
            ],
        ),
        ReportTable(
            f"Through the scheduler's process, {HELD_TO_BARS}, {compiled}",
            "Executors and classifiers are replayed over a real NATS. At rest: heartbeats, and no request.",
            ("engines", "executors", "queued", "decisions/s of CPU", "decisions/s", "MB", *_rest_columns(services)),
            [_service_row(figures) for figures in services],
        ),
    ]
    plain = {"books": [asdict(one) for one in books], "services": [asdict(figures) for figures in services]}
    return ResilienceResult("Decisions of one scheduler", asdict(plan), plain, tables, bars)


def _rest_columns(services: list[ServiceFigures]) -> list[str]:
    return [f"{name} at rest" for name in services[0].rest_cores] if services else []


def _service_row(figures: ServiceFigures) -> list[str]:
    plan = figures.plan
    wall = f"{figures.decided / figures.wall_seconds:,.0f}" if figures.wall_seconds else ""
    rest = [f"{100 * cores:.1f} %" for cores in figures.rest_cores.values()]
    return [
        f"{plan.engines:,}",
        f"{plan.executors:,}",
        f"{plan.queued:,}",
        f"{figures.per_cpu_second:,.0f}",
        wall,
        f"{figures.resident_mb:,.0f}",
        *rest,
    ]


def _size(engines: int, queued: int) -> str:
    return f"{engines:,} engines, {queued:,} queued"


def _made(compiled: bool) -> str:
    return "compiled" if compiled else "interpreted"
