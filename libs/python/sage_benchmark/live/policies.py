"""``sage bench policies``: the policies of the mesh under the same load, live."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sage_benchmark.live.against_simulator import agree, simulate_the_same
from sage_benchmark.live.comparison import ComparisonPlan, compare_systems
from sage_benchmark.live.mesh_system import mesh_systems
from sage_benchmark.live.simulated_pool import simulated_pool
from sage_benchmark.report.agreement import agreement_bars
from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.policy_bars import policy_bars
from sage_benchmark.simulate.plan import WITHOUT_AFFINITY
from sage_benchmark.workload.request_body import ModelNames


@dataclass(frozen=True)
class PolicyOptions:
    """What is run beside the policies themselves.

    Attributes:
        simulate: play the same requests in the simulator too, and hold it against the mesh.
        without_affinity: run the last policy once more in a mesh that does not see what prompts have in common.
    """

    simulate: bool = True
    without_affinity: bool = False


def run_policies(
    plan: ComparisonPlan,
    policies: Sequence[str],
    command: str,
    tell: Callable[[str], None],
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
        pool = stack.enter_context(simulated_pool(plan.engines, ModelNames()))
        systems = list(stack.enter_context(mesh_systems(scratch / "mesh", pool, policies)))
        if options.without_affinity:
            blind = mesh_systems(scratch / "blind", pool, policies[-1:], suffix=WITHOUT_AFFINITY, affinity=False)
            systems += stack.enter_context(blind)
        found = compare_systems(plan, pool, systems, tell)
    simulated = simulate_the_same(plan, policies, tell) if options.simulate else []
    agreements = agree(found.systems, simulated)
    return BenchmarkReport(
        "Scheduling policies under the same load",
        command,
        plan.describe() | {"offered": ", ".join(f"{value:.2f}" for value in found.offered)},
        [*found.systems, *simulated],
        bars=[*policy_bars(found.systems), *agreement_bars(agreements)],
        notes=found.notes(),
        timelines=found.timelines,
        agreements=agreements,
    )
