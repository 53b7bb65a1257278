"""The simulator plays the very requests of the live runs, and its clients give up when live ones do."""

from __future__ import annotations

from sage_benchmark.live.comparison import ComparisonPlan
from sage_benchmark.live.policy_benchmark import agree, simulate_the_same
from sage_benchmark.report.metrics import SystemRuns
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.load_settings import LoadSettings

PLAN = ComparisonPlan(tuple(LoadSettings(1, 15.0, load) for load in (0.5, 1.5)), repetitions=2, seed=4)


def test_every_load_and_seed_is_simulated_with_the_requests_that_were_sent() -> None:
    said: list[str] = []
    found = simulate_the_same(PLAN, ["fifo"], said.append)
    assert [(system.name, system.load) for system in found] == [("fifo, simulated", 0.5), ("fifo, simulated", 1.5)]
    for workload, system in zip(PLAN.workloads, found, strict=True):
        sent = [len(workload.arrivals(EngineModelConfig(), seed)) for seed in (4, 5)]
        assert [run.requests for run in system.runs] == sent
    assert len(said) == 2


def test_a_client_that_would_have_given_up_was_not_served() -> None:
    patient = simulate_the_same(PLAN, ["fifo"], lambda _: None)[1]
    hasty = simulate_the_same(ComparisonPlan(PLAN.workloads, 2, 4, timeout_seconds=5.0), ["fifo"], lambda _: None)[1]
    assert sum(run.errors.get("timeout", 0) for run in patient.runs) == 0
    assert sum(run.errors.get("timeout", 0) for run in hasty.runs) > 0
    assert all(run.by_class["bulk"].end_to_end.p99 <= 5000 for run in hasty.runs)


def test_a_system_is_held_against_the_simulation_of_its_own_policy_and_load() -> None:
    simulated = simulate_the_same(PLAN, ["fifo"], lambda _: None)
    live = [SystemRuns("fifo", 1.5, simulated[1].runs), SystemRuns("hybrid", 1.5, simulated[0].runs)]
    found = agree(live, simulated)
    assert {(item.system, item.load) for item in found} == {("fifo", 1.5)}
    assert all(item.points == 0 for item in found)
