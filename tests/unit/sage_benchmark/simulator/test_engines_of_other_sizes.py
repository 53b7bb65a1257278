"""Engines of sizes that nobody has told, and of more seats than keep the pace: chats keep their targets on them too."""

from __future__ import annotations

import pytest

from sage_benchmark.grid.cell_result import Played
from sage_benchmark.grid.grid_cell import GridWorkload
from sage_benchmark.simulator.simulation import Simulation

LEAST_CHATS = 300


def cell(seats: int, share: float, load: float, seconds: float = 120.0) -> GridWorkload:
    return GridWorkload("fast", seats, share, load, 1.0, 1, seconds, LEAST_CHATS)


def play(workload: GridWorkload, *, told: bool = True) -> tuple[Simulation, Played]:
    arrivals = workload.settings().arrivals(workload.engine, workload.seed)
    simulation = Simulation(workload.simulation("hybrid", told=told), arrivals)
    return simulation, Played.of(simulation.run(), workload.seconds)


@pytest.mark.parametrize(("seats", "load"), [(2, 0.7), (4, 1.0), (16, 1.3), (48, 1.3)])
def test_after_200_requests_a_pool_that_was_told_nothing_does_as_well_as_one_that_was(seats: int, load: float) -> None:
    workload = cell(seats, 0.35, load, seconds=80.0)
    told = play(workload)[1]
    untold, played = play(workload, told=False)
    assert told.learned is not None
    assert played.learned is not None
    assert told.learned >= 0.9
    assert played.learned >= 0.97 * told.learned
    for entry in untold.manager.engines.values():
        assert entry.credits.learned is not None
        assert 0.6 * seats <= entry.credits.learned.limit <= seats + 1


@pytest.mark.long
@pytest.mark.parametrize("told", [True, False])
def test_the_pace_is_kept_on_engines_with_more_seats_than_keep_it(told: bool) -> None:
    simulation, played = play(cell(256, 0.5, 1.3), told=told)
    assert played.reach.attainment >= (0.95 if told else 0.93)
    assert played.tpot.p95 <= 50.0
    config = simulation.plan.engine
    # With all seats taken a token would take 95 ms.
    assert config.step_base_seconds + config.step_per_sequence_seconds * 256 > 0.090
    # What the pace leaves is used: an engine makes 2,100 tokens a second within 50 ms a token, prompts not counted.
    assert played.bulk_tokens_per_second >= 500
