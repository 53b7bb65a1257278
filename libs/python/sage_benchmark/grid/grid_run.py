"""Plays the cells, on every core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from sage_benchmark.bound.demand import demand_of
from sage_benchmark.bound.upper_bound import most_within_targets
from sage_benchmark.grid.cell_result import CellResult, Played, Reach
from sage_benchmark.grid.grid_cell import Grid, GridWorkload
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulator.clairvoyant import ClairvoyantOrder, ClairvoyantPolicy
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_benchmark import without_collections
from sage_benchmark.simulator.simulation_plan import SimulationPlan, for_many_engines
from sage_benchmark.workload.arrival import Arrival
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.classification import DEFAULT_LEVEL
from sage_control_plane.request.request import ServiceClass
from sage_control_plane.settings import ControlSettings

# Saturations up to which the clairvoyant heuristics let bulk work in while chats come: not at all, and half.
BULK_LIMITS = (0.0, 0.5)
# Share of the interactive TPOT that a clairvoyant heuristic lets decoding alone take where it limits the batch: prompts
# take the rest.
DECODING_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class GridPlan:
    """What is played.

    Attributes:
        heuristics: whether the clairvoyant heuristics are played too.
        bound: whether what no order can exceed is computed.
        control: the settings of the control plane.
    """

    grid: Grid = Grid()
    heuristics: bool = False
    bound: bool = True
    control: ControlSettings = field(default_factory=ControlSettings)


@dataclass(frozen=True, slots=True)
class _Task:
    """One workload and everything that is played on it."""

    workload: GridWorkload
    policies: Sequence[str]
    told: Sequence[bool]
    heuristics: bool
    bound: bool
    control: ControlSettings

    def play(self) -> list[CellResult]:
        """Play it; return a result for each policy, told and not told."""
        workload = self.workload
        arrivals = workload.settings().arrivals(workload.engine, workload.seed)
        if not arrivals:
            raise InvalidRequestError(
                f"nothing arrives within {workload.seconds:g} s in {workload.name()}; give it more --seconds or --chats"
            )
        with without_collections():
            best = _best(workload, arrivals) if self.heuristics else None
            bound = bound_of(workload, arrivals) if self.bound else None
            return [
                CellResult(workload, policy, told, self._played(policy, told, arrivals), best, bound)
                for policy, told in product(self.policies, self.told)
            ]

    def _played(self, policy: str, told: bool, arrivals: Sequence[Arrival]) -> Played:
        plan = self.workload.simulation(policy, told=told)
        control = for_many_engines(self.control, plan.engines)
        return Played.of(Simulation(replace(plan, control=control), arrivals).run(), self.workload.seconds)


def run_grid(plan: GridPlan, progress: Callable[[str], None], processes: int | None = None) -> list[CellResult]:
    """Play every cell; return the results in the order of the grid.

    Args:
        progress: is told each result in a line, in the order in which they come.
        processes: at most so many at once; None for one on each core. A single workload is played in this process.

    Raises:
        InvalidRequestError: a cell cannot be.
    """
    grid = plan.grid
    tasks = [
        _Task(workload, grid.policies, grid.told, plan.heuristics, plan.bound, plan.control)
        for workload in grid.workloads()
    ]
    results: dict[GridWorkload, list[CellResult]] = {}
    for played in _play_all(tasks, processes or os.cpu_count() or 1):
        results[played[0].workload] = played
        for result in played:
            progress(result.line())
    return [result for task in tasks for result in results[task.workload]]


def _play_all(tasks: Sequence[_Task], processes: int) -> Iterator[list[CellResult]]:
    if min(processes, len(tasks)) < 2:
        yield from map(_Task.play, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
        # The largest engines take longest; begun first, they do not leave one process working at the end.
        futures = [pool.submit(_Task.play, task) for task in sorted(tasks, key=lambda task: -task.workload.seats)]
        for future in as_completed(futures):
            yield future.result()


def bound_of(workload: GridWorkload, arrivals: Sequence[Arrival]) -> Reach:
    """What no order of service can exceed, each figure by itself."""
    demand = demand_of(arrivals, workload.engine, workload.seconds)
    chats = np.array([arrival.service_class is ServiceClass.INTERACTIVE for arrival in arrivals], dtype=np.bool_)
    met = most_within_targets(demand, workload.engines, chats)
    return Reach(
        met / max(1, int(chats.sum())), most_within_targets(demand, workload.engines) / workload.seconds
    )


def _best(workload: GridWorkload, arrivals: Sequence[Arrival]) -> Reach:
    """What the clairvoyant heuristics reach: the most of any, for each figure by itself."""
    config = workload.engine
    cost = {str(a.index): config.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in arrivals}
    plan = workload.simulation("fifo")
    plan = replace(plan, control=for_many_engines(plan.control, plan.engines))
    reached = []
    for seats, order, limit in product({workload.seats, _batch_within_tpot(workload)}, ClairvoyantOrder, BULK_LIMITS):
        limited = replace(plan, registered_concurrency=seats)
        reached.append(Played.of(_heuristic(limited, arrivals, cost, order, limit), workload.seconds))
    return Reach(
        max(played.reach.attainment for played in reached), max(played.reach.goodput for played in reached)
    )


def _heuristic(
    plan: SimulationPlan,
    arrivals: Sequence[Arrival],
    cost: dict[str, float],
    order: ClairvoyantOrder,
    bulk_limit: float,
) -> list[RequestOutcome]:
    simulation = Simulation(plan, arrivals)
    simulation.manager.use_policy(ClairvoyantPolicy(cost, order, bulk_limit, arrivals[-1].at_seconds), 0.0)
    return simulation.run()


def _batch_within_tpot(workload: GridWorkload) -> int:
    """The largest batch whose steps, with room for prompts, are within the interactive TPOT; at least 1."""
    config = workload.engine
    most = DECODING_SHARE * DEFAULT_LEVEL[ServiceClass.INTERACTIVE].tpot_ms / 1000
    if config.step_per_sequence_seconds <= 0:
        return workload.seats
    batch = int((most - config.step_base_seconds) / config.step_per_sequence_seconds)
    return max(1, min(workload.seats, batch))
