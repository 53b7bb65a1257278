"""The simulator on the very requests that were sent to the live mesh: same arrivals, engines, fault and time-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sage_benchmark.live.comparison import ComparisonPlan
from sage_benchmark.live.engine_fault import EngineFault, LiveFault
from sage_benchmark.report.agreement import Agreement, agreements
from sage_benchmark.report.benchmark_report import SystemRuns
from sage_benchmark.report.metrics import measure, ttft_for_cdf
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulate.plan import Fault, FaultKind, SimulationPlan
from sage_benchmark.simulate.simulation import Simulation
from sage_benchmark.workload.load_settings import LoadSettings
from sage_control_plane.request.request import ServiceClass

SIMULATED = ", simulated"


def simulate_the_same(plan: ComparisonPlan, policies: Sequence[str], tell: Callable[[str], None]) -> list[SystemRuns]:
    """Simulate every repetition under each policy; the systems are named after the policies."""
    found = []
    for workload in plan.workloads:
        for policy in policies:
            runs, ttft = [], list[float]()
            for repetition in range(plan.repetitions):
                outcomes = list(_given_up(_simulate(plan, workload, policy, plan.seed + repetition), plan))
                runs.append(measure(outcomes, workload.seconds, SimulationPlan().engine))
                ttft += ttft_for_cdf(outcomes, ServiceClass.INTERACTIVE)
            system = SystemRuns(policy + SIMULATED, workload.load, runs, ttft)
            found.append(system)
            tell(f"{system.name}, load {workload.load:g}: attainment {system.figures['attainment'].mean:.3f}")
    return found


def agree(live: Sequence[SystemRuns], simulated: Sequence[SystemRuns]) -> list[Agreement]:
    """Hold each live system against the simulated one of its policy and load."""
    by_name = {(system.name, system.load): system for system in simulated}
    found = []
    for system in live:
        same = by_name.get((system.name + SIMULATED, system.load))
        if same is not None:
            found += agreements(system.name, system.load, system.figures, same.figures)
    return found


def simulated_faults(fault: EngineFault | None) -> tuple[Fault, ...]:
    """A live fault as the simulator knows it."""
    if fault is None:
        return ()
    kind = FaultKind.DEAD if fault.kind is LiveFault.DIE else FaultKind.SLOW
    return (Fault(0, fault.at_seconds, kind, fault.factor),)


def _simulate(plan: ComparisonPlan, workload: LoadSettings, policy: str, seed: int) -> list[RequestOutcome]:
    simulation = SimulationPlan(
        engines=plan.engines,
        policy=policy,
        faults=simulated_faults(plan.fault),
        timeout_seconds=plan.timeout_seconds,
        seed=seed,
    )
    return Simulation(simulation, workload.arrivals(simulation.engine, seed)).run()


def _given_up(outcomes: Sequence[RequestOutcome], plan: ComparisonPlan) -> Iterator[RequestOutcome]:
    """Live clients wait no longer than the time-out, wherever their request is."""
    for outcome in outcomes:
        until = outcome.arrival.at_seconds + plan.timeout_seconds
        if outcome.served and outcome.finished_at is not None and outcome.finished_at > until:
            yield replace(outcome, finished_at=until, error="timeout")
        else:
            yield outcome
