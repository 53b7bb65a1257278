"""Running the same workload through several systems in turn, and what comes of it as a report's values."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import product

import psutil
import uvloop

from sage_benchmark.live.machine_use import MachineClock, MachineUse, describe_use
from sage_benchmark.live.simulated_pool import SimulatedPool, inject
from sage_benchmark.live.system_under_load import Contender, SystemUnderLoad
from sage_benchmark.load.open_loop import OpenLoopPlan, run_open_loop
from sage_benchmark.report.metrics import WITHIN_SECONDS, RunMetrics, SystemRuns, measure, ttft_for_cdf
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.report.timeline import Timeline, candidates, shared_timelines
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.engine_fault import EngineFault
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.rendered_request import RenderedRequest, render
from sage_benchmark.workload.workload import Workload, offered_load
from sage_common.errors import InvalidRequestError
from sage_common.tasks import end_tasks
from sage_control_plane.request.request import ServiceClass

LOAD_GENERATOR = "load generator"
WARM_UP_SEED = 0


@dataclass(frozen=True)
class ComparisonPlan:
    """What is run.

    Attributes:
        workloads: one for each load, over the same engines.
        repetitions: runs of each system under each load, each with a seed of its own that all systems share.
        timeout_seconds: after its scheduled arrival a request is given up, and counts as failed.
        warm_up_seconds: of half the load through each system, before anything is measured.
        within_seconds: in which first tokens are to come, see ``GroupMetrics.within``.
        alone: whether each system is up only for its own runs, and started anew for each: it then learns nothing from
            other runs, and what idles takes nothing of the machine.
    """

    workloads: tuple[Workload, ...] = (LoadSettings(),)
    repetitions: int = 3
    seed: int = 1
    timeout_seconds: float = 60.0
    warm_up_seconds: float = 4.0
    fault: EngineFault | None = None
    within_seconds: float = WITHIN_SECONDS
    alone: bool = False

    @property
    def engines(self) -> int:
        """How many engines there are."""
        return self.workloads[0].engines

    def describe(self) -> dict[str, object]:
        """As settings of a report."""
        return {
            **self.workloads[0].describe(),
            "load": ", ".join(f"{workload.load:g}" for workload in self.workloads),
            "repetitions": self.repetitions,
            "first seed": self.seed,
            "request time-out, s": self.timeout_seconds,
            "warm-up, not counted": f"{self.warm_up_seconds:g} s of half the load "
            + ("before each run, in a system just started" if self.alone else "of each system, before all runs"),
            "fault": self.fault.describe() if self.fault else "none",
        }


@dataclass
class _Collected:
    runs: list[RunMetrics] = field(default_factory=list)
    ttft_seconds: list[float] = field(default_factory=list)
    cpu_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    first: Sequence[RequestOutcome] = ()


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        systems: one for each system and load, in the order of the loads.
        offered: load that each repetition really offered, as a multiple of saturation.
        machine: who used the machine during each run.
    """

    systems: list[SystemRuns]
    timelines: list[Timeline]
    offered: list[float]
    machine: list[MachineUse]

    def notes(self) -> list[str]:
        """What a reader must know of the machine."""
        return [
            describe_use(self.machine),
            "Requests that were sent late count from their scheduled arrival.",
            "Each repetition has another seed, the same for all systems; the order of the systems rotates.",
        ]


def compare_systems(
    plan: ComparisonPlan, pool: SimulatedPool, contenders: Sequence[Contender], progress: Callable[[str], None]
) -> Comparison:
    """Run the workload through every system as often as the plan says; ``progress`` is called with the progress.

    Raises:
        InvalidRequestError: no request would arrive in a run.
        SageError: a system could not be made ready; a report without it would mislead.
    """
    config = pool.config
    runs = product(plan.workloads, range(plan.repetitions))
    if not all(workload.arrivals(config, plan.seed + repetition) for workload, repetition in runs):
        raise InvalidRequestError("no request of the load arrives in a run; give more --seconds", param="seconds")
    collected = {(load, contender.name): _Collected() for load in plan.workloads for contender in contenders}
    offered, machine = [], []
    with ExitStack() as stack:
        up = {} if plan.alone else {c.name: stack.enter_context(_warmed_up(plan, pool, c)) for c in contenders}
        for turn, (workload, repetition) in enumerate(product(plan.workloads, range(plan.repetitions))):
            arrivals = workload.arrivals(config, plan.seed + repetition)
            offered.append(offered_load(workload, arrivals, config))
            for place in range(len(contenders)):
                contender = contenders[(place + turn) % len(contenders)]
                with ExitStack() as own:
                    system = up.get(contender.name) or own.enter_context(_warmed_up(plan, pool, contender))
                    pool.recover()
                    system.prepare()
                    run = _measured(plan, workload, arrivals, system, pool)
                machine.append(run.machine)
                _collect(collected[workload, contender.name], run)
                progress(
                    f"{contender.name}, load {workload.load:g}, run {repetition + 1} of {plan.repetitions}: "
                    f"{run.metrics.requests} requests, attainment {run.metrics.attainment:.3f}, "
                    f"goodput {run.metrics.goodput:.2f}/s"
                )
    pool.recover()
    return Comparison(
        [
            SystemRuns(name, workload.load, of.runs, of.ttft_seconds, dict(of.cpu_seconds))
            for (workload, name), of in collected.items()
        ],
        shared_timelines(
            {name: of.first for (workload, name), of in collected.items() if workload is plan.workloads[-1]}
        ),
        offered,
        machine,
    )


@contextmanager
def _warmed_up(plan: ComparisonPlan, pool: SimulatedPool, contender: Contender) -> Iterator[SystemUnderLoad]:
    warm_up = plan.workloads[0].warm_up(plan.warm_up_seconds).arrivals(pool.config, WARM_UP_SEED)
    pool.recover()
    with contender.start() as system:
        system.prepare()
        _play(plan, system, warm_up, pool, None)
        yield system


@dataclass(frozen=True)
class _Run:
    metrics: RunMetrics
    outcomes: list[RequestOutcome]
    cpu_seconds: Mapping[str, float]
    machine: MachineUse


def _measured(
    plan: ComparisonPlan,
    workload: Workload,
    arrivals: Sequence[Arrival],
    system: SystemUnderLoad,
    pool: SimulatedPool,
) -> _Run:
    cpu, (prompts, hits), clock = _cpu_seconds(system, pool), pool.prompt_tokens(), MachineClock.now()
    outcomes = _play(plan, system, arrivals, pool, plan.fault)
    # A process that died on the way has taken its time with it.
    used = {name: max(0.0, value - cpu.get(name, 0.0)) for name, value in _cpu_seconds(system, pool).items()}
    machine = MachineUse.between(clock, MachineClock.now(), used)
    prompts_after, hits_after = pool.prompt_tokens()
    cached = max(0, hits_after - hits)
    share = cached / max(1, prompts_after - prompts)
    metrics = measure(outcomes, workload.seconds, pool.config, plan.within_seconds)
    metrics = replace(metrics, cached_prompt_share=share, cached_prompt_tokens=cached)
    return _Run(metrics, outcomes, used, machine)


def _play(
    plan: ComparisonPlan,
    system: SystemUnderLoad,
    arrivals: Sequence[Arrival],
    pool: SimulatedPool,
    fault: EngineFault | None,
) -> list[RequestOutcome]:
    # A name of its own for each run: equal prompts would meet the engines' prefix caches.
    run, label = secrets.token_hex(3), system.labels.label
    requests = [(arrival, label(arrival, render(arrival, pool.models, run))) for arrival in arrivals]
    return uvloop.run(_run(OpenLoopPlan(system.urls, plan.timeout_seconds), requests, pool, fault))


async def _run(
    plan: OpenLoopPlan,
    requests: Sequence[tuple[Arrival, RenderedRequest]],
    pool: SimulatedPool,
    fault: EngineFault | None,
) -> list[RequestOutcome]:
    injecting = asyncio.create_task(inject(fault, pool)) if fault is not None else None
    try:
        outcomes = await run_open_loop(plan, requests)
        if injecting is not None:
            await injecting
        return outcomes
    finally:
        if injecting is not None:
            await end_tasks(injecting)


def _collect(into: _Collected, run: _Run) -> None:
    into.runs.append(run.metrics)
    into.ttft_seconds += ttft_for_cdf(run.outcomes, ServiceClass.INTERACTIVE)
    for process, seconds in run.cpu_seconds.items():
        into.cpu_seconds[process] += seconds
    into.first = into.first or candidates(run.outcomes)


def _cpu_seconds(system: SystemUnderLoad, pool: SimulatedPool) -> Mapping[str, float]:
    times = psutil.Process().cpu_times()
    return {**system.cpu_seconds(), LOAD_GENERATOR: times.user + times.system, pool.title: pool.cpu_seconds()}
