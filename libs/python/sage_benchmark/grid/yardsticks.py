"""What a cell is held against: the bound, and the best that heuristics with all lengths known reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from sage_benchmark.bound.demand import demand_of
from sage_benchmark.bound.reach import Reach
from sage_benchmark.bound.upper_bound import most_within_targets
from sage_benchmark.grid.cell_result import Played
from sage_benchmark.grid.grid_cell import GridWorkload
from sage_benchmark.simulator.clairvoyant import ClairvoyantOrder, ClairvoyantPolicy
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import for_many_engines
from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.classification import DEFAULT_LEVEL
from sage_control_plane.request.engine_state import CapacitySource
from sage_control_plane.request.request import ServiceClass

# Saturations up to which the heuristics let bulk work in while chats come: not at all, and half.
BULK_LIMITS = (0.0, 0.5)
# Shares of the interactive TPOT that decoding alone may take where a heuristic limits the batch: prompts take the rest.
DECODING_SHARES = (0.5, 0.7, 0.85)
# Parts of the chats that the bound serves which a heuristic serves before all others.
PARTS = (1.0, 0.95, 0.85)


def bound_of(workload: GridWorkload, arrivals: Sequence[Arrival]) -> Reach:
    """What no order of service can exceed, each figure by itself."""
    return Reach.bound(arrivals, workload.engine, workload.engines, workload.seconds, until=workload.seconds)


def best_of_heuristics(workload: GridWorkload, arrivals: Sequence[Arrival]) -> Reach:
    """What the clairvoyant heuristics reach: the most of any, for each figure by itself."""
    config = workload.engine
    cost = {str(a.index): config.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in arrivals}
    until = arrivals[-1].at_seconds
    reached = []
    for batch in {workload.seats, *(_batch_within_tpot(workload, share) for share in DECODING_SHARES)}:
        for order, limit in product(ClairvoyantOrder, BULK_LIMITS):
            policy = ClairvoyantPolicy(cost, order, limit, until)
            reached.append(_reached(workload, batch, arrivals, policy))
        for some in _worthwhile(workload, arrivals, cost):
            policy = ClairvoyantPolicy(cost, ClairvoyantOrder.LAXITY, 0.0, until, some)
            reached.append(_reached(workload, batch, arrivals, policy))
    return Reach(max(reach.attainment for reach in reached), max(reach.goodput for reach in reached))


def _worthwhile(
    workload: GridWorkload, arrivals: Sequence[Arrival], cost: Mapping[str, float]
) -> Iterator[frozenset[str]]:
    """Yield the chats that the bound serves, and fewer of them, since no schedule serves as many."""
    chats = np.array([arrival.service_class is ServiceClass.INTERACTIVE for arrival in arrivals], dtype=np.bool_)
    bound = most_within_targets(demand_of(arrivals, workload.engine), workload.engines, chats)
    ids = [str(arrival.index) for arrival, chat in zip(arrivals, chats, strict=True) if chat]
    ids.sort(key=lambda request_id: (-bound.shares[int(request_id)], cost[request_id]))
    for part in PARTS:
        yield frozenset(ids[: int(part * bound.requests)])


def _reached(workload: GridWorkload, batch: int, arrivals: Sequence[Arrival], policy: ClairvoyantPolicy) -> Reach:
    plan = workload.simulation("fifo")
    plan = replace(
        plan,
        control=for_many_engines(plan.control, plan.engines),
        registered_concurrency=batch,
        capacity_source=CapacitySource.CONFIGURED,
    )
    simulation = Simulation(plan, arrivals)
    simulation.manager.use_policy(policy, 0.0)
    return Played.of(simulation.run(), workload.seconds).reach


def _batch_within_tpot(workload: GridWorkload, share: float) -> int:
    """Return the largest batch whose steps take at most this share of the interactive TPOT; at least 1."""
    config = workload.engine
    most = share * DEFAULT_LEVEL[ServiceClass.INTERACTIVE].tpot_ms / 1000
    batch = int((most - config.step_base_seconds) / config.step_per_sequence_seconds)
    return max(1, min(workload.seats, batch))
