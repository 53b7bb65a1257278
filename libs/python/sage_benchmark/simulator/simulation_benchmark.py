"""``sage bench simulate``: the policies, and the clairvoyant one above them, under the same load in virtual time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean

from sage_benchmark.bound.reach import Reach
from sage_benchmark.report.bars import INTERACTIVE, Bar, at_each_load, policy_bars
from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.metrics import RunMetrics, SystemRuns, measure, ttft_for_cdf
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.report.timeline import Timeline, candidates, shared_timelines
from sage_benchmark.simulator.clairvoyant import ClairvoyantOrder, ClairvoyantPolicy
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import WITHOUT_AFFINITY, SimulationPlan, for_many_engines
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.workload import offered_load
from sage_control_plane.request.request import ServiceClass

CLAIRVOYANT = "clairvoyant"
# Saturations up to which the clairvoyant policy lets bulk work in; the best of them counts.
BULK_LIMITS = (0.5, 0.7, 0.9)
# Outcomes of a run, and what completes the metrics that are taken from them.
Played = tuple[list[RequestOutcome], Callable[[RunMetrics], RunMetrics]]


@dataclass(frozen=True)
class VirtualPlan:
    """What is simulated.

    Attributes:
        workloads: one for each load, over the same engines.
        without_affinity: simulate the last policy once more, not seeing what prompts have in common.
        clairvoyant: whether the clairvoyant policy is simulated too, once for each of its orders and limits, and what
            no order can exceed is computed.
        simulation: the pool; its engines, policy and seed are those of the load.
    """

    workloads: tuple[LoadSettings, ...] = (LoadSettings(),)
    repetitions: int = 3
    seed: int = 1
    clairvoyant: bool = True
    without_affinity: bool = False
    simulation: SimulationPlan = SimulationPlan()


def run_in_virtual_time(
    plan: VirtualPlan, policies: Sequence[str], command: str, progress: Callable[[str], None]
) -> BenchmarkReport:
    """Simulate the workload under each policy.

    Raises:
        InvalidRequestError: no such policy, or the trace is not one.
    """
    names = [*policies, *([CLAIRVOYANT] if plan.clairvoyant else [])]
    if plan.without_affinity:
        names.append(policies[-1] + WITHOUT_AFFINITY)
    systems: list[SystemRuns] = []
    timelines: list[Timeline] = []
    offered: list[float] = []
    bounds: dict[float, Reach] = {}
    for workload in plan.workloads:
        played = _Played(plan, workload)
        if plan.clairvoyant:
            bounds[workload.load] = played.bound()
        offered += [offered_load(workload, arrivals, plan.simulation.engine) for arrivals in played.arrivals]
        systems += [played.under(name, progress) for name in names]
        timelines = shared_timelines(played.first)
    settings = plan.workloads[0].describe() | {
        "load": ", ".join(f"{workload.load:g}" for workload in plan.workloads),
        "repetitions": plan.repetitions,
        "first seed": plan.seed,
        "offered": ", ".join(f"{value:.2f}" for value in offered),
        "request time-out, s": plan.simulation.timeout_seconds,
        "fault": ", ".join(fault.describe() for fault in plan.simulation.faults) or "none",
    }
    if bounds:
        settings |= {
            "goodput, bound": ", ".join(f"{bound.goodput:.2f}/s" for bound in bounds.values()),
            "interactive attainment, bound": ", ".join(f"{bound.attainment:.3f}" for bound in bounds.values()),
        }
    return BenchmarkReport(
        "Scheduling policies in virtual time",
        command,
        settings,
        systems,
        bars=[*policy_bars(systems), *_yardstick_bars(systems, bounds)],
        notes=[
            "The control plane is the scheduler's own; engines are models, and hops between processes cost nothing."
        ],
        timelines=timelines,
    )


class _Played:
    """One workload, all its repetitions.

    Attributes:
        first: early outcomes of the first repetition under each policy.
    """

    def __init__(self, plan: VirtualPlan, workload: LoadSettings) -> None:
        self._plan = plan
        self._workload = workload
        seeds = range(plan.seed, plan.seed + plan.repetitions)
        self.arrivals = [workload.arrivals(plan.simulation.engine, seed) for seed in seeds]
        self.first: dict[str, list[RequestOutcome]] = {}

    def bound(self) -> Reach:
        """What no order can exceed, the mean over the repetitions."""
        config, engines = self._plan.simulation.engine, self._workload.engines
        each = [Reach.bound(arrivals, config, engines, self._workload.seconds) for arrivals in self.arrivals]
        return Reach(fmean(one.attainment for one in each), fmean(one.goodput for one in each))

    def under(self, name: str, progress: Callable[[str], None]) -> SystemRuns:
        """Play it under a policy."""
        plan, workload, config = self._plan, self._workload, self._plan.simulation.engine
        runs, ttft, cpu = list[RunMetrics](), list[float](), 0.0
        for seed, arrivals in enumerate(self.arrivals, start=plan.seed):
            simulated = replace(plan.simulation, engines=workload.engines, seed=seed)
            began = time.process_time()
            with without_collections():
                outcomes, completed = (
                    _best(simulated, arrivals, workload) if name == CLAIRVOYANT else _play(simulated, arrivals, name)
                )
            taken = time.process_time() - began
            cpu += taken
            metrics = completed(measure(outcomes, workload.seconds, config))
            runs.append(metrics)
            ttft += ttft_for_cdf(outcomes, ServiceClass.INTERACTIVE)
            self.first.setdefault(name, candidates(outcomes))
            progress(
                f"{name}, load {workload.load:g}, seed {seed}: {len(arrivals)} requests in {taken:.1f} s, "
                f"attainment {metrics.attainment:.3f}, goodput {metrics.goodput:.2f}/s"
            )
        return SystemRuns(name, workload.load, runs, ttft, {"simulation": cpu})


def _play(plan: SimulationPlan, arrivals: Sequence[Arrival], name: str) -> Played:
    policy = name.removesuffix(WITHOUT_AFFINITY)
    plan = replace(plan, control=for_many_engines(plan.control, plan.engines))
    simulation = Simulation(replace(plan, policy=policy, affinity=policy == name), arrivals)
    return simulation.run(), simulation.completed


def _best(plan: SimulationPlan, arrivals: Sequence[Arrival], load: LoadSettings) -> Played:
    """The clairvoyant policy's best run by goodput, whichever order and limit it took."""
    config = plan.engine
    cost = {str(a.index): config.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in arrivals}

    plan = replace(plan, control=for_many_engines(plan.control, plan.engines))

    def play(order: ClairvoyantOrder, bulk_limit: float) -> Played:
        simulation = Simulation(replace(plan, policy="fifo"), arrivals)
        simulation.manager.use_policy(ClairvoyantPolicy(cost, order, bulk_limit, arrivals[-1].at_seconds), 0.0)
        return simulation.run(), simulation.completed

    tried = (play(order, limit) for order, limit in product(ClairvoyantOrder, BULK_LIMITS))
    return max(tried, key=lambda played: measure(played[0], load.seconds, config).goodput)


def _yardstick_bars(systems: Sequence[SystemRuns], bounds: Mapping[float, Reach]) -> list[Bar]:
    """``hybrid`` beside the clairvoyant policy, and beside what no order can exceed."""
    bars = []
    for where, those in at_each_load(systems):
        by_name = {system.name: system.figures for system in those}
        hybrid, bound = by_name.get("hybrid"), bounds.get(those[0].load)
        if hybrid is None or bound is None:
            continue
        goodput = hybrid["goodput"].mean
        ratios = [("goodput, hybrid to clairvoyant", goodput, by_name[CLAIRVOYANT]["goodput"].mean)]
        ratios.append(("goodput, hybrid to the bound", goodput, bound.goodput))
        if INTERACTIVE in hybrid:
            ratios.append(("interactive attainment, hybrid to the bound", hybrid[INTERACTIVE].mean, bound.attainment))
        bars += [Bar(name + where, value / most, 0.9, "×", at_most=False) for name, value, most in ratios if most]
    return bars


@contextmanager
def without_collections() -> Iterator[None]:
    """Keep the cyclic collector from running, and collect once at the end.

    A run keeps its requests and outcomes, a million of them, to its end, and the collector would walk them all again
    and again: with 1,000 engines and 1,000,000 requests that is a third of the time. What a run drops is freed by
    reference counts: requests, jobs, decisions and emissions do not refer back to what holds them, so nothing piles
    up meanwhile. The one cycle of a run is the simulation itself, which the last collection takes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()
