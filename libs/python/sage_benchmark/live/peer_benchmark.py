"""``sage bench compare``: the mesh and its peers in front of the same engines, under the same load."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from sage_benchmark.live.comparison import ComparisonPlan, SystemUnderLoad, compare_systems
from sage_benchmark.live.mesh_system import mesh_systems
from sage_benchmark.live.peers import Peer, find_program, running_peer
from sage_benchmark.live.simulated_pool import simulated_pool
from sage_benchmark.report.bars import peer_bars
from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.simulated_engine.engine_config import SimulatedModels

OURS = "sage "


def run_compare(
    plan: ComparisonPlan,
    policies: Sequence[str],
    peers: Sequence[Peer],
    environments: Mapping[str, Path],
    command: str,
    progress: Callable[[str], None],
) -> BenchmarkReport:
    """Start engines, a mesh and every peer that is installed; run the workload through each; take all down.

    Args:
        policies: of the mesh; the first is the one that is held against the peers.
        environments: virtual environment of each peer, by name; a peer without one is looked for beside this Python and
            on the path.

    Raises:
        SageError: something that is installed did not start, or a policy was not in force.
    """
    programs = {peer.name: find_program(peer, environments.get(peer.name)) for peer in peers}
    missing = [not_installed(peer, environments.get(peer.name)) for peer in peers if programs[peer.name] is None]
    for line in missing:
        progress(line)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sage-bench-")))
        pool = stack.enter_context(simulated_pool(plan.engines, SimulatedModels()))
        systems: list[SystemUnderLoad] = list(stack.enter_context(mesh_systems(scratch / "mesh", pool, policies, OURS)))
        for peer in peers:
            program = programs[peer.name]
            if program is not None:
                systems.append(stack.enter_context(running_peer(peer, program, scratch / peer.name, pool)))
        found = compare_systems(plan, pool, systems, progress)
    settings = plan.describe() | {"offered": ", ".join(f"{value:.2f}" for value in found.offered)}
    settings["peers"] = ", ".join(
        f"{peer.name}: {'run with its defaults' if programs[peer.name] else 'NOT INSTALLED'}" for peer in peers
    )
    running = [peer.name for peer in peers if programs[peer.name] is not None]
    return BenchmarkReport(
        "SAGE and its peers in front of the same engines",
        command,
        settings,
        found.systems,
        bars=peer_bars(OURS + policies[0], running, found.systems),
        notes=[*missing, *found.notes()],
        timelines=found.timelines,
    )


def not_installed(peer: Peer, environment: Path | None) -> str:
    """Say that a peer is not there, and what to do."""
    where = f"in {environment}" if environment is not None else "beside this Python or on the path"
    return (
        f"{peer.name} is not installed: no program {peer.program!r} {where}. Make a virtual environment of its own, "
        f"pip install {peer.requirement!r} into it, and pass --peer-env {peer.name}=/path/to/it"
    )
