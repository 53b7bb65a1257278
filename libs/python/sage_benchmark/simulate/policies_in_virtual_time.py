"""``sage bench simulate``: the policies, and the clairvoyant one above them, under the same load in virtual time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from sage_benchmark.report.benchmark_report import Bar, BenchmarkReport, SystemRuns, Timeline
from sage_benchmark.report.metrics import RunMetrics, measure, ttft_for_cdf
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.report.policy_bars import policy_bars
from sage_benchmark.report.timeline import typical_timeline
from sage_benchmark.simulate.clairvoyant import ClairvoyantOrder, ClairvoyantPolicy
from sage_benchmark.simulate.plan import SimulationPlan
from sage_benchmark.simulate.simulation import Simulation
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.load_settings import LoadSettings
from sage_control_plane.requests import ServiceClass

CLAIRVOYANT = "clairvoyant"
# Saturations up to which the clairvoyant policy lets bulk work in; the best of them counts.
BULK_LIMITS = (0.5, 0.7, 0.9)


@dataclass(frozen=True)
class VirtualPlan:
    """What is simulated.

    Attributes:
        clairvoyant: whether the yardstick is simulated too, once for each of its orders and limits.
        simulation: the pool; its engines, policy and seed are those of the load.
    """

    load: LoadSettings = LoadSettings()
    repetitions: int = 3
    seed: int = 1
    clairvoyant: bool = True
    simulation: SimulationPlan = SimulationPlan()


def run_in_virtual_time(
    plan: VirtualPlan, policies: Sequence[str], command: str, tell: Callable[[str], None]
) -> BenchmarkReport:
    """Simulate the workload under each policy.

    Raises:
        InvalidRequestError: no such policy, or the trace is not one.
    """
    config = plan.simulation.engine
    names = [*policies, *([CLAIRVOYANT] if plan.clairvoyant else [])]
    runs: dict[str, list[RunMetrics]] = {name: [] for name in names}
    ttft: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, float] = dict.fromkeys(names, 0.0)
    timelines: dict[str, Timeline] = {}
    offered = []
    for repetition in range(plan.repetitions):
        seed = plan.seed + repetition
        arrivals = plan.load.arrivals(config, seed)
        offered.append(plan.load.offered(arrivals, config))
        for name in names:
            simulated = replace(plan.simulation, engines=plan.load.engines, seed=seed)
            began = time.process_time()
            outcomes = (
                _best(simulated, arrivals, plan.load) if name == CLAIRVOYANT else _play(simulated, arrivals, name)
            )
            taken = time.process_time() - began
            cpu[name] += taken
            metrics = measure(outcomes, plan.load.seconds, config)
            runs[name].append(metrics)
            ttft[name] += ttft_for_cdf(outcomes, ServiceClass.INTERACTIVE)
            timeline = typical_timeline(outcomes, name)
            if timeline is not None:
                timelines.setdefault(name, timeline)
            tell(
                f"{name}, seed {seed}: {len(arrivals)} requests in {taken:.1f} s, attainment {metrics.attainment:.3f}, "
                f"goodput {metrics.goodput:.2f}/s"
            )
    systems = [SystemRuns(name, plan.load.load, runs[name], ttft[name], {"simulation": cpu[name]}) for name in names]
    settings = plan.load.describe() | {
        "repetitions": plan.repetitions,
        "first seed": plan.seed,
        "offered": ", ".join(f"{value:.2f}" for value in offered),
        "request time-out, s": plan.simulation.timeout_seconds,
        "fault": ", ".join(f"{f.kind.value} engine at {f.at:g} s" for f in plan.simulation.faults) or "none",
    }
    return BenchmarkReport(
        "Scheduling policies in virtual time",
        command,
        settings,
        systems,
        bars=[*policy_bars(systems), *_yardstick_bars(systems)],
        notes=[
            "The control plane is the scheduler's own; engines are models, and hops between processes cost nothing."
        ],
        timelines=list(timelines.values()),
    )


def _play(plan: SimulationPlan, arrivals: Sequence[Arrival], policy: str) -> list[RequestOutcome]:
    return Simulation(replace(plan, policy=policy), arrivals).run()


def _best(plan: SimulationPlan, arrivals: Sequence[Arrival], load: LoadSettings) -> list[RequestOutcome]:
    """The clairvoyant policy's best run by goodput, whichever order and limit it took."""
    config = plan.engine
    cost = {str(a.index): config.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in arrivals}

    def play(order: ClairvoyantOrder, bulk_limit: float) -> list[RequestOutcome]:
        simulation = Simulation(replace(plan, policy="fifo"), arrivals)
        simulation.manager.use_policy(ClairvoyantPolicy(cost, order, bulk_limit, arrivals[-1].at_seconds), 0.0)
        return simulation.run()

    tried = (play(order, limit) for order, limit in product(ClairvoyantOrder, BULK_LIMITS))
    return max(tried, key=lambda outcomes: measure(outcomes, load.seconds, config).goodput)


def _yardstick_bars(systems: Sequence[SystemRuns]) -> list[Bar]:
    """Goodput of ``hybrid`` beside the clairvoyant policy's."""
    by_name = {system.name: system.figures["goodput"].mean for system in systems}
    if "hybrid" not in by_name or not by_name.get(CLAIRVOYANT):
        return []
    return [Bar("goodput, hybrid to clairvoyant", by_name["hybrid"] / by_name[CLAIRVOYANT], 0.9, "×", at_most=False)]
