"""Plays the cells, on every core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import product

from sage_benchmark.grid.cell_result import CellResult, Played
from sage_benchmark.grid.grid_cell import Grid, GridWorkload
from sage_benchmark.grid.yardsticks import best_of_heuristics, bound_of
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_benchmark import without_collections
from sage_benchmark.simulator.simulation_plan import for_many_engines
from sage_benchmark.workload.arrival import Arrival
from sage_common.errors import InvalidRequestError
from sage_control_plane.settings import ControlSettings


@dataclass(frozen=True, slots=True)
class GridPlan:
    """What is played.

    Attributes:
        heuristics: whether the clairvoyant heuristics are played too.
        control: the settings of the control plane.
    """

    grid: Grid = Grid()
    heuristics: bool = False
    control: ControlSettings = field(default_factory=ControlSettings)


@dataclass(frozen=True, slots=True)
class _Task:
    """One workload and everything that is played on it.

    Attributes:
        controls: settings, each of which is played.
    """

    workload: GridWorkload
    grid: Grid
    heuristics: bool
    controls: Sequence[ControlSettings]

    def play(self) -> list[list[CellResult]]:
        """Play it; return for each of the settings a result for each policy, told and not told."""
        workload = self.workload
        arrivals = workload.settings().arrivals(workload.engine, workload.seed)
        if not arrivals:
            raise InvalidRequestError(
                f"nothing arrives within {workload.seconds:g} s in {workload.name()}; give it more --seconds or --chats"
            )
        with without_collections():
            bound = bound_of(workload, arrivals)
            best = best_of_heuristics(workload, arrivals) if self.heuristics else None
            return [
                [
                    CellResult(workload, policy, told, self._played(policy, told, control, arrivals), best, bound)
                    for policy, told in product(self.grid.policies, self.grid.told)
                ]
                for control in self.controls
            ]

    def _played(self, policy: str, told: bool, control: ControlSettings, arrivals: Sequence[Arrival]) -> Played:
        plan = self.workload.simulation(policy, told=told)
        plan = replace(plan, control=for_many_engines(control, plan.engines))
        return Played.of(Simulation(plan, arrivals).run(), self.workload.seconds)


def run_grid(plan: GridPlan, progress: Callable[[str], None], processes: int | None = None) -> list[CellResult]:
    """Play every cell; return the results in the order of the grid.

    Args:
        progress: is told each result in a line, in the order in which they come.
        processes: at most so many at once; None for one on each core. A single workload is played in this process.

    Raises:
        InvalidRequestError: a cell cannot be.
    """
    return run_variants(plan, [plan.control], progress, processes)[0]


def run_variants(
    plan: GridPlan,
    controls: Sequence[ControlSettings],
    progress: Callable[[str], None],
    processes: int | None = None,
) -> list[list[CellResult]]:
    """Play every cell under each of the settings; return for each of them what ``run_grid`` would."""
    tasks = [_Task(workload, plan.grid, plan.heuristics, controls) for workload in plan.grid.workloads()]
    results: list[list[list[CellResult]]] = [[] for _ in tasks]
    for number, played in _play_all(tasks, processes or os.cpu_count() or 1):
        results[number] = played
        for result in played[0]:
            progress(result.line())
    return [[result for played in results for result in played[variant]] for variant in range(len(controls))]


def _play_all(tasks: Sequence[_Task], processes: int) -> Iterator[tuple[int, list[list[CellResult]]]]:
    if min(processes, len(tasks)) < 2:
        yield from ((number, task.play()) for number, task in enumerate(tasks))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
        # The largest engines take longest; begun first, they do not leave one process working at the end.
        order = sorted(range(len(tasks)), key=lambda number: -tasks[number].workload.seats)
        futures = {pool.submit(_Task.play, tasks[number]): number for number in order}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # After Ctrl-C nothing more is begun; leaving the block waits for what is.
            pool.shutdown(wait=False, cancel_futures=True)
