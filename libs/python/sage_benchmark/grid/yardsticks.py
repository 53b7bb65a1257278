"""What a cell is held against: the bound, and the best that heuristics with all lengths known reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

from sage_benchmark.bound.reach import Reach
from sage_benchmark.grid.cell_result import Played
from sage_benchmark.grid.grid_cell import GridWorkload
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulator.clairvoyant import ClairvoyantOrder, ClairvoyantPolicy
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import SimulationPlan, for_many_engines
from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.classification import DEFAULT_LEVEL
from sage_control_plane.request.engine_state import CapacitySource
from sage_control_plane.request.request import ServiceClass

# Saturations up to which the heuristics let bulk work in while chats come: not at all, and half.
BULK_LIMITS = (0.0, 0.5)
# Shares of the interactive TPOT that decoding alone may take where a heuristic limits the batch: prompts take the rest.
DECODING_SHARES = (0.5, 0.7)


def bound_of(workload: GridWorkload, arrivals: Sequence[Arrival]) -> Reach:
    """What no order of service can exceed, each figure by itself."""
    return Reach.bound(arrivals, workload.engine, workload.engines, workload.seconds, until=workload.seconds)


def best_of_heuristics(workload: GridWorkload, arrivals: Sequence[Arrival]) -> Reach:
    """What the clairvoyant heuristics reach: the most of any, for each figure by itself."""
    config = workload.engine
    cost = {str(a.index): config.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in arrivals}
    plan = replace(workload.simulation("fifo"), capacity_source=CapacitySource.CONFIGURED)
    plan = replace(plan, control=for_many_engines(plan.control, plan.engines))
    batches = {workload.seats, *(_batch_within_tpot(workload, share) for share in DECODING_SHARES)}
    reached = [
        Played.of(
            _played(replace(plan, registered_concurrency=batch), arrivals, cost, order, limit), workload.seconds
        ).reach
        for batch, order, limit in product(batches, ClairvoyantOrder, BULK_LIMITS)
    ]
    return Reach(max(reach.attainment for reach in reached), max(reach.goodput for reach in reached))


def _played(
    plan: SimulationPlan,
    arrivals: Sequence[Arrival],
    cost: Mapping[str, float],
    order: ClairvoyantOrder,
    bulk_limit: float,
) -> list[RequestOutcome]:
    simulation = Simulation(plan, arrivals)
    simulation.manager.use_policy(ClairvoyantPolicy(cost, order, bulk_limit, arrivals[-1].at_seconds), 0.0)
    return simulation.run()


def _batch_within_tpot(workload: GridWorkload, share: float) -> int:
    """Return the largest batch whose steps take at most this share of the interactive TPOT; at least 1."""
    config = workload.engine
    most = share * DEFAULT_LEVEL[ServiceClass.INTERACTIVE].tpot_ms / 1000
    batch = int((most - config.step_base_seconds) / config.step_per_sequence_seconds)
    return max(1, min(workload.seats, batch))
