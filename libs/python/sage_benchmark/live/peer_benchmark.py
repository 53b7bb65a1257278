"""``sage bench compare``: the mesh, its peers and nothing at all in front of the same engines, under the same load."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sage_benchmark.live.capacities import TOLD, Capacity, capacity_suffixes
from sage_benchmark.live.comparison import ComparisonPlan, compare_systems
from sage_benchmark.live.mesh_system import mesh_contenders, running_mesh_contenders
from sage_benchmark.live.peers import CACHE_AWARE, KNOWS_CLASSES, Peer, find_program, not_installed
from sage_benchmark.live.running_peer import running_peer
from sage_benchmark.live.simulated_pool import SimulatedPool
from sage_benchmark.live.system_under_load import Contender, DirectSystem
from sage_benchmark.report.bars import cache_bars, peer_bars
from sage_benchmark.report.benchmark_report import BenchmarkReport
from sage_benchmark.report.chat_and_bulk import chat_and_bulk_bars, chat_and_bulk_table, ratio_table

OURS = "sage "
# Of a mesh that reads what engines tell of their prefix caches.
TOLD_CACHES = ", told of caches"


@dataclass(frozen=True)
class Compared:
    """What is put in front of the engines, one after the other.

    Attributes:
        policies: of the mesh; the first is the one that is held against the others.
        peers: those that are not installed are named in the report.
        environments: virtual environment of each peer, by name; a peer without one is looked for beside this Python and
            on the path.
        capacities: whether all are told how many requests an engine computes at once; with both, each is run twice.
    """

    policies: Sequence[str]
    peers: Sequence[Peer] = ()
    environments: Mapping[str, Path] = field(default_factory=dict)
    capacities: Sequence[Capacity] = (TOLD,)

    @property
    def ours(self) -> str:
        """Name of the system that is held against the others."""
        return f"{OURS}{self.policies[0]}{self.first_suffix}"

    @property
    def first_suffix(self) -> str:
        """What tells the systems of the first capacity from the others."""
        return capacity_suffixes(self.capacities)[self.capacities[0]]

    def peer_names(self) -> list[str]:
        """Names of the systems that are peers and are installed."""
        suffixes = capacity_suffixes(self.capacities).values()
        return [f"{peer}{suffix}" for suffix in suffixes for peer in self.programs()]

    def programs(self) -> dict[str, Path]:
        """The program of each peer that is installed, by the peer's name."""
        found = {peer.name: find_program(peer, self.environments.get(peer.name)) for peer in self.peers}
        return {name: program for name, program in found.items() if program is not None}

    def missing(self) -> list[str]:
        """Say of each peer that is not installed what to do."""
        programs = self.programs()
        return [
            not_installed(peer, self.environments.get(peer.name)) for peer in self.peers if peer.name not in programs
        ]


def run_compare(
    plan: ComparisonPlan,
    compared: Compared,
    engines: Callable[[], AbstractContextManager[SimulatedPool]],
    command: str,
    progress: Callable[[str], None],
) -> BenchmarkReport:
    """Start engines, a mesh and every peer that is installed; run the workload through each; take all down.

    Args:
        engines: starts them for as long as the context lasts.

    Raises:
        SageError: something that is installed did not start, or a policy was not in force.
    """
    missing = compared.missing()
    for line in missing:
        progress(line)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sage-bench-")))
        pool = stack.enter_context(engines())
        contenders = _contenders(plan, compared, pool, scratch, stack)
        found = compare_systems(plan, pool, contenders, progress)
    settings = plan.describe() | {"offered": ", ".join(f"{value:.2f}" for value in found.offered)}
    settings |= {pool.title: pool.described} | {f"told: {one.name}": one.told for one in contenders}
    programs = compared.programs()
    settings |= {f"told: {peer.name}": "NOT INSTALLED" for peer in compared.peers if peer.name not in programs}
    bars = peer_bars(compared.ours, compared.peer_names(), found.systems)
    for ours in (compared.ours, f"{compared.ours}{TOLD_CACHES}"):
        bars += cache_bars(ours, CACHE_AWARE + compared.first_suffix, found.systems)
    if not pool.models.reads_markers:
        bars += chat_and_bulk_bars(compared.ours, KNOWS_CLASSES + compared.first_suffix, found.systems)
    return BenchmarkReport(
        "SAGE and its peers in front of the same engines",
        command,
        settings,
        found.systems,
        bars=bars,
        notes=[*missing, *found.notes()],
        timelines=found.timelines,
        tables=[chat_and_bulk_table(found.systems), ratio_table(compared.ours, found.systems)],
    )


def _contenders(
    plan: ComparisonPlan, compared: Compared, pool: SimulatedPool, scratch: Path, stack: ExitStack
) -> list[Contender]:
    found = [Contender.running(DirectSystem(pool), DirectSystem.told)]
    programs = compared.programs()
    for capacity, suffix in capacity_suffixes(compared.capacities).items():
        told = capacity is TOLD
        named = {f"{OURS}{policy}{suffix}": policy for policy in compared.policies}
        if plan.alone:
            found += mesh_contenders(scratch, pool, named, told=told)
        else:
            found += stack.enter_context(running_mesh_contenders(scratch, pool, named, told=told))
        if pool.kv_events:
            informed = {f"{name}{TOLD_CACHES}": policy for name, policy in named.items()}
            found += stack.enter_context(running_mesh_contenders(scratch, pool, informed, told=told, caches=True))
        found += [
            Contender(
                f"{peer.name}{suffix}",
                partial(
                    running_peer,
                    peer,
                    programs[peer.name],
                    scratch / f"{peer.name}-{capacity}",
                    pool,
                    told=told,
                    patience_seconds=plan.timeout_seconds,
                ),
                peer.told(capacity=told),
            )
            for peer in compared.peers
            if peer.name in programs
        ]
    return found
