"""A run without the cyclic collector leaves nothing to it."""

from __future__ import annotations

import gc

import pytest

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_benchmark import without_collections
from sage_benchmark.simulator.simulation_plan import SimulationPlan, for_many_engines
from sage_benchmark.workload.mixed_load import LoadPlan, equal_tenants, generate
from sage_control_plane.settings import ControlSettings


def test_the_collector_rests_meanwhile_and_works_again_afterwards() -> None:
    with without_collections():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_collector_works_again_after_a_run_that_failed() -> None:
    with pytest.raises(ZeroDivisionError), without_collections():
        _ = 1 / len([])
    assert gc.isenabled()


def test_a_run_makes_no_cycles_so_nothing_piles_up_without_the_collector() -> None:
    arrivals = generate(LoadPlan(30.0, 3, equal_tenants(2, 1.3)), EngineModelConfig(), seed=5)
    simulation = Simulation(SimulationPlan(timeout_seconds=10.0), arrivals)
    with without_collections():
        gc.collect()
        outcomes = simulation.run()
        left = gc.collect()
    assert len(outcomes) > 1_000
    assert any(outcome.error for outcome in outcomes)
    assert left < 100


def test_queues_are_as_long_as_many_engines_need_and_never_shorter_than_the_scheduler_has_them() -> None:
    own = ControlSettings()
    assert for_many_engines(own, 3) == own
    assert for_many_engines(own, 1_000).admission.max_queued == 1_000_000
