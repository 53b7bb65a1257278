"""``sage bench policies``: the policies of the mesh under the same load, live."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from sage_benchmark.live.comparison import ComparisonPlan, compare_systems
from sage_benchmark.live.mesh_system import mesh_systems
from sage_benchmark.live.simulated_pool import simulated_pool
from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.policy_bars import policy_bars
from sage_benchmark.workload.request_body import ModelNames


def run_policies(
    plan: ComparisonPlan, policies: Sequence[str], command: str, tell: Callable[[str], None]
) -> BenchmarkReport:
    """Start engines and a mesh, run the workload through each policy, and take all down.

    Raises:
        PolicySwitchError: a policy was not in force when it should have been.
        SageError: something did not start.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch,
        simulated_pool(plan.load.engines, ModelNames()) as pool,
        mesh_systems(Path(scratch) / "mesh", pool, policies) as systems,
    ):
        found = compare_systems(plan, pool, systems, tell)
    settings = describe(plan) | {"offered": ", ".join(f"{value:.2f}" for value in found.offered)}
    return BenchmarkReport(
        "Scheduling policies under the same load",
        command,
        settings,
        found.systems,
        bars=policy_bars(found.systems),
        notes=found.notes(),
        timelines=found.timelines,
    )


def describe(plan: ComparisonPlan) -> dict[str, object]:
    """As settings of a report."""
    return {
        **plan.load.describe(),
        "repetitions": plan.repetitions,
        "first seed": plan.seed,
        "request time-out, s": plan.timeout_seconds,
        "fault": plan.fault.describe() if plan.fault else "none",
    }
