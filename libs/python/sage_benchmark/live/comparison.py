"""Running the same workload through several systems in turn, and what comes of it as a report's values."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil
import uvloop

from sage_benchmark.live.engine_fault import EngineFault
from sage_benchmark.live.simulated_pool import SimulatedPool
from sage_benchmark.live.system import SystemUnderLoad
from sage_benchmark.open_loop.open_loop_run import OpenLoopPlan, run_open_loop
from sage_benchmark.report.benchmark_report import SystemRuns, Timeline
from sage_benchmark.report.metrics import RunMetrics, measure, ttft_for_cdf
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.report.timeline import typical_timeline
from sage_benchmark.simulated.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.request_body import ModelNames, RenderedRequest, render
from sage_common.tasks import end_tasks
from sage_control_plane.requests import ServiceClass

LOAD_GENERATOR = "load generator"
WARM_UP_SEED = 0


@dataclass(frozen=True)
class ComparisonPlan:
    """What is run.

    Attributes:
        repetitions: runs of each system, each with a seed of its own that all systems share.
        timeout_seconds: after its scheduled arrival a request is given up, and counts as failed.
        warm_up_seconds: of half the saturating load through each system, before anything is measured.
    """

    load: LoadSettings = LoadSettings()
    repetitions: int = 3
    seed: int = 1
    timeout_seconds: float = 60.0
    warm_up_seconds: float = 4.0
    fault: EngineFault | None = None


@dataclass
class _Collected:
    runs: list[RunMetrics] = field(default_factory=list)
    ttft_seconds: list[float] = field(default_factory=list)
    cpu_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    timeline: Timeline | None = None


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        offered: load that each repetition really offered, as a multiple of saturation.
        load_averages: the machine's load average over a minute at the start of each run, the benchmark's own included.
    """

    systems: list[SystemRuns]
    timelines: list[Timeline]
    offered: list[float]
    load_averages: list[float]

    def notes(self) -> list[str]:
        """What a reader must know of the machine."""
        low, high = min(self.load_averages), max(self.load_averages)
        return [
            f"Engines, load generator and systems shared {os.cpu_count()} cores, whose load average was {low:.1f} to "
            f"{high:.1f} at the starts of the runs; requests that were sent late count from their scheduled arrival.",
            "Each repetition has another seed, the same for all systems; the order of the systems rotates.",
        ]


def compare_systems(
    plan: ComparisonPlan, pool: SimulatedPool, systems: Sequence[SystemUnderLoad], tell: Callable[[str], None]
) -> Comparison:
    """Run the workload through every system as often as the plan says; ``tell`` is called with the progress.

    Raises:
        SageError: a system could not be made ready; a report without it would mislead.
    """
    config, models = EngineModelConfig(), ModelNames()
    collected = {system.name: _Collected() for system in systems}
    offered, load_averages = [], []
    warm_up = LoadSettings(plan.load.engines, plan.warm_up_seconds, 0.5).arrivals(config, WARM_UP_SEED)
    for system in systems:
        pool.recover()
        system.prepare()
        _play(system.url, warm_up, models, plan.timeout_seconds, pool, None)
    for repetition in range(plan.repetitions):
        arrivals = plan.load.arrivals(config, plan.seed + repetition)
        offered.append(plan.load.offered(arrivals, config))
        for place in range(len(systems)):
            system = systems[(place + repetition) % len(systems)]
            pool.recover()
            system.prepare()
            load_averages.append(os.getloadavg()[0])
            before = _cpu_seconds(system)
            outcomes = _play(system.url, arrivals, models, plan.timeout_seconds, pool, plan.fault)
            after = _cpu_seconds(system)
            metrics = measure(outcomes, plan.load.seconds, config)
            _collect(collected[system.name], system.name, metrics, outcomes)
            for name, seconds in after.items():
                collected[system.name].cpu_seconds[name] += seconds - before.get(name, 0.0)
            tell(
                f"{system.name}, run {repetition + 1} of {plan.repetitions}: {metrics.requests} requests, "
                f"attainment {metrics.attainment:.3f}, goodput {metrics.goodput:.2f}/s"
            )
    pool.recover()
    return Comparison(
        [
            SystemRuns(name, plan.load.load, of.runs, of.ttft_seconds, dict(of.cpu_seconds))
            for name, of in collected.items()
        ],
        [of.timeline for of in collected.values() if of.timeline is not None],
        offered,
        load_averages,
    )


def _play(
    url: str,
    arrivals: Sequence[Arrival],
    models: ModelNames,
    timeout_seconds: float,
    pool: SimulatedPool,
    fault: EngineFault | None,
) -> list[RequestOutcome]:
    # A name of its own for each run: equal prompts would meet the engines' prefix caches.
    run = secrets.token_hex(3)
    requests = [(arrival, render(arrival, models, run)) for arrival in arrivals]
    return uvloop.run(_run(OpenLoopPlan(url, timeout_seconds), requests, pool, fault))


async def _run(
    plan: OpenLoopPlan,
    requests: Sequence[tuple[Arrival, RenderedRequest]],
    pool: SimulatedPool,
    fault: EngineFault | None,
) -> list[RequestOutcome]:
    striking = asyncio.create_task(fault.strike(pool)) if fault is not None else None
    try:
        outcomes = await run_open_loop(plan, requests)
        if striking is not None:
            await striking
        return outcomes
    finally:
        if striking is not None:
            await end_tasks(striking)


def _collect(into: _Collected, name: str, metrics: RunMetrics, outcomes: Sequence[RequestOutcome]) -> None:
    into.runs.append(metrics)
    into.ttft_seconds += ttft_for_cdf(outcomes, ServiceClass.INTERACTIVE)
    if into.timeline is None:
        into.timeline = typical_timeline(outcomes, name)


def _cpu_seconds(system: SystemUnderLoad) -> Mapping[str, float]:
    times = psutil.Process().cpu_times()
    return {**system.cpu_seconds(), LOAD_GENERATOR: times.user + times.system}
