"""``sage bench policies``: the policies of the mesh under the same load, live and in the simulator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from sage_benchmark.live.comparison import ComparisonPlan, compare_systems
from sage_benchmark.live.llamacpp_pool import SHAPES, SLOTS, llamacpp_pool
from sage_benchmark.live.mesh_system import mesh_systems
from sage_benchmark.live.simulated_pool import simulated_pool
from sage_benchmark.report.bars import Agreement, agreement_bars, agreements, policy_bars
from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.metrics import SystemRuns, measure, ttft_for_cdf
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import WITHOUT_AFFINITY, SimulationPlan
from sage_benchmark.workload.load_settings import LoadSettings
from sage_control_plane.request.request import ServiceClass


@dataclass(frozen=True)
class PolicyOptions:
    """What is run beside the policies themselves.

    Attributes:
        simulate: play the same requests in the simulator too, and hold it against the mesh.
        without_affinity: run the last policy once more in a mesh that does not see what prompts have in common.
        llamacpp: run them in front of real llama.cpp engines, too.
    """

    simulate: bool = True
    without_affinity: bool = False
    llamacpp: bool = False


def run_policies(
    plan: ComparisonPlan,
    policies: Sequence[str],
    command: str,
    progress: Callable[[str], None],
    options: PolicyOptions | None = None,
) -> BenchmarkReport:
    """Start engines and a mesh, run the workload through each policy, and take all down.

    Raises:
        PolicySwitchError: a policy was not in force when it should have been.
        SageError: something did not start.
    """
    options = options or PolicyOptions()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sage-bench-")))
        pool = stack.enter_context(simulated_pool(plan.engines, SimulatedModels()))
        systems = list(stack.enter_context(mesh_systems(scratch / "mesh", pool, policies)))
        if options.without_affinity:
            blind = mesh_systems(scratch / "blind", pool, policies[-1:], suffix=WITHOUT_AFFINITY, affinity=False)
            systems += stack.enter_context(blind)
        found = compare_systems(plan, pool, systems, progress)
    simulated = simulate_the_same(plan, policies, progress) if options.simulate else []
    agreements = agree(found.systems, simulated)
    real, settings = run_on_llamacpp(plan, policies, progress) if options.llamacpp else ([], {})
    return BenchmarkReport(
        "Scheduling policies under the same load",
        command,
        plan.describe() | {"offered": ", ".join(f"{value:.2f}" for value in found.offered)} | settings,
        [*found.systems, *simulated, *real],
        bars=[*policy_bars(found.systems), *agreement_bars(agreements)],
        notes=found.notes(),
        timelines=found.timelines,
        agreements=agreements,
    )


SIMULATED = ", simulated"
ON_LLAMACPP = ", llama.cpp"
LLAMACPP_ENGINES = 2


def run_on_llamacpp(
    plan: ComparisonPlan, policies: Sequence[str], progress: Callable[[str], None]
) -> tuple[list[SystemRuns], dict[str, object]]:
    """Run the policies in front of two real engines, with requests that suit these; raise as ``run_policies``.

    Returns:
        The systems, named after the policies, and what a report says of the engines.
    """
    workloads = tuple(
        replace(workload, engines=LLAMACPP_ENGINES, shapes=SHAPES, prefixes=None) for workload in plan.workloads
    )
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sage-bench-")))
        pool = stack.enter_context(llamacpp_pool(LLAMACPP_ENGINES))
        systems = stack.enter_context(mesh_systems(scratch, pool, policies, suffix=ON_LLAMACPP))
        found = compare_systems(replace(plan, workloads=workloads), pool, systems, progress)
    config = pool.config
    said = (
        f"{LLAMACPP_ENGINES} engines with {SLOTS} slots and one thread each, SmolLM2-135M; measured before the runs: "
        f"{config.prefill_tokens_per_second:.0f} prompt tokens/s, {1e3 * config.step_seconds(1):.1f} ms a token alone "
        f"and {1e3 * config.step_seconds(SLOTS):.1f} ms with all slots in use. Short prompts, answers of a set length, "
        "no embeddings; loads are multiples of what these engines can do"
    )
    return found.systems, {"llama.cpp": said}


def simulate_the_same(
    plan: ComparisonPlan, policies: Sequence[str], progress: Callable[[str], None]
) -> list[SystemRuns]:
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


def _simulate(plan: ComparisonPlan, workload: LoadSettings, policy: str, seed: int) -> list[RequestOutcome]:
    simulation = SimulationPlan(
        engines=plan.engines,
        policy=policy,
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
