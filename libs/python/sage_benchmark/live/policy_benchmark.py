"""``sage bench policies``: the policies of the mesh under the same load, live and in the simulator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from sage_benchmark.live.capacities import TOLD, Capacity, capacity_suffixes
from sage_benchmark.live.comparison import ComparisonPlan, compare_systems
from sage_benchmark.live.mesh_system import mesh_contenders, running_mesh_contenders
from sage_benchmark.live.simulated_pool import SimulatedPool
from sage_benchmark.live.system_under_load import Contender, DirectSystem
from sage_benchmark.report.bars import Agreement, agreement_bars, agreements, policy_bars
from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.chat_and_bulk import chat_and_bulk_table
from sage_benchmark.report.metrics import SystemRuns, measure, ttft_for_cdf
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import WITHOUT_AFFINITY, SimulationPlan
from sage_benchmark.workload.workload import Workload
from sage_control_plane.request.request import ServiceClass


@dataclass(frozen=True)
class PolicyOptions:
    """What is run, and beside the policies themselves.

    Attributes:
        simulate: play the same requests in the simulator too, and hold it against the mesh that is told the capacity.
        without_affinity: run the last policy once more in a mesh that does not see what prompts have in common.
        direct: run the engines with nothing in front, too.
        capacities: whether the mesh is told how many requests an engine computes at once; with both, each policy is run
            twice.
    """

    simulate: bool = True
    without_affinity: bool = False
    direct: bool = False
    capacities: Sequence[Capacity] = (TOLD,)


def run_policies(
    plan: ComparisonPlan,
    policies: Sequence[str],
    engines: Callable[[], AbstractContextManager[SimulatedPool]],
    command: str,
    progress: Callable[[str], None],
    options: PolicyOptions | None = None,
) -> BenchmarkReport:
    """Start engines and a mesh, run the workload through each policy, and take all down.

    Args:
        engines: starts them for as long as the context lasts.

    Raises:
        PolicySwitchError: a policy was not in force when it should have been.
        SageError: something did not start.
    """
    options = options or PolicyOptions()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sage-bench-")))
        pool = stack.enter_context(engines())
        contenders = _contenders(plan, policies, pool, options, scratch, stack)
        found = compare_systems(plan, pool, contenders, progress)
    simulated = []
    if options.simulate and TOLD in options.capacities:
        suffix = capacity_suffixes(options.capacities)[TOLD]
        simulated = simulate_the_same(plan, policies, progress, pool.config, suffix)
    agreements = agree(found.systems, simulated)
    settings = plan.describe() | {"offered": ", ".join(f"{value:.2f}" for value in found.offered)}
    return BenchmarkReport(
        "Scheduling policies under the same load",
        command,
        settings | {pool.title: pool.described} | {f"told: {one.name}": one.told for one in contenders},
        [*found.systems, *simulated],
        bars=[*policy_bars(found.systems), *agreement_bars(agreements)],
        notes=found.notes(),
        timelines=found.timelines,
        agreements=agreements,
        tables=[chat_and_bulk_table([*found.systems, *simulated])],
    )


def _contenders(
    plan: ComparisonPlan,
    policies: Sequence[str],
    pool: SimulatedPool,
    options: PolicyOptions,
    scratch: Path,
    stack: ExitStack,
) -> list[Contender]:
    found = [Contender.running(DirectSystem(pool), DirectSystem.told)] if options.direct else []
    for capacity, suffix in capacity_suffixes(options.capacities).items():
        named = {f"{policy}{suffix}": policy for policy in policies}
        told = capacity is TOLD
        if plan.alone:
            found += mesh_contenders(scratch, pool, named, told=told)
            continue
        found += stack.enter_context(running_mesh_contenders(scratch, pool, named, told=told))
        if options.without_affinity:
            blind = {f"{policies[-1]}{suffix}{WITHOUT_AFFINITY}": policies[-1]}
            found += stack.enter_context(running_mesh_contenders(scratch, pool, blind, told=told, affinity=False))
    return found


SIMULATED = ", simulated"


def simulate_the_same(
    plan: ComparisonPlan,
    policies: Sequence[str],
    progress: Callable[[str], None],
    engine: EngineModelConfig | None = None,
    suffix: str = "",
) -> list[SystemRuns]:
    """Simulate every repetition under each policy; the systems are named after the policies and ``suffix``.

    Args:
        engine: how fast the live engines are.
    """
    found = []
    config = engine or EngineModelConfig()
    for workload in plan.workloads:
        for policy in policies:
            runs, ttft = [], list[float]()
            for repetition in range(plan.repetitions):
                played = _simulate(plan, workload, config, policy, plan.seed + repetition)
                outcomes = list(_given_up(played, plan))
                runs.append(measure(outcomes, workload.seconds, config, plan.within_seconds))
                ttft += ttft_for_cdf(outcomes, ServiceClass.INTERACTIVE)
            system = SystemRuns(policy + suffix + SIMULATED, workload.load, runs, ttft)
            found.append(system)
            progress(f"{system.name}, load {workload.load:g}: attainment {system.figures['attainment'].mean:.3f}")
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


def _simulate(
    plan: ComparisonPlan, workload: Workload, engine: EngineModelConfig, policy: str, seed: int
) -> list[RequestOutcome]:
    simulation = SimulationPlan(
        engines=plan.engines,
        policy=policy,
        engine=engine,
        faults=(plan.fault,) if plan.fault is not None else (),
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
