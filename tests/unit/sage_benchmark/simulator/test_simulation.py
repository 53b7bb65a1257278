"""The simulation loses nothing, repeats itself, and shows what the policies are for."""

from __future__ import annotations

import pytest
from fixtures.arrivals import burst, without_tenant

from sage_benchmark.report.metrics import measure
from sage_benchmark.report.outcome import RequestOutcome, level_of, meets
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulator.clairvoyant import ClairvoyantOrder, ClairvoyantPolicy
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import SimulationPlan
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.engine_fault import EngineFault, FaultKind
from sage_benchmark.workload.mixed_load import (
    GREEDY,
    LoadPlan,
    equal_tenants,
    generate,
    with_a_greedy_one,
)
from sage_control_plane.policies.registry import policy_names
from sage_control_plane.request.request import ServiceClass

CONFIG = EngineModelConfig()
OVERLOAD = generate(LoadPlan(40.0, 3, equal_tenants(2, 1.3)), CONFIG, seed=1)
HALF = generate(LoadPlan(30.0, 3, equal_tenants(2, 0.5)), CONFIG, seed=2)


def run(arrivals: list[Arrival], **plan: object) -> list[RequestOutcome]:
    return Simulation(SimulationPlan(**plan), arrivals).run()  # type: ignore[arg-type]


def attainment(outcomes: list[RequestOutcome], service_class: ServiceClass | None = None) -> float:
    chosen = [o for o in outcomes if service_class is None or o.arrival.service_class is service_class]
    return sum(meets(o, level_of(o.arrival)) for o in chosen) / len(chosen)


@pytest.mark.parametrize("policy", policy_names())
def test_every_request_has_one_outcome_and_its_own_tokens(policy: str) -> None:
    outcomes = run(OVERLOAD, policy=policy)
    assert sorted(o.arrival.index for o in outcomes) == list(range(len(OVERLOAD)))
    assert all(o.tokens == o.arrival.output_tokens for o in outcomes if o.served)


def test_the_same_seed_gives_the_same_outcomes() -> None:
    assert run(HALF) == run(HALF)


def test_a_burst_of_equal_requests_spreads_over_equal_engines() -> None:
    outcomes = run(burst(60))
    counts = [sum(o.engine == f"engine-{index}" for o in outcomes) for index in range(3)]
    assert all(18 <= count <= 22 for count in counts)


def test_hybrid_keeps_chats_in_time_past_saturation_where_fifo_does_not() -> None:
    fifo, hybrid = run(OVERLOAD, policy="fifo"), run(OVERLOAD, policy="hybrid")
    assert attainment(fifo, ServiceClass.INTERACTIVE) < 0.5
    assert attainment(hybrid, ServiceClass.INTERACTIVE) >= 0.95
    assert attainment(hybrid) >= 1.5 * attainment(fifo)


@pytest.mark.long
def test_hybrid_comes_near_a_policy_that_knows_every_length() -> None:
    cost = {str(a.index): CONFIG.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in OVERLOAD}
    best = 0.0
    for order in ClairvoyantOrder:
        simulation = Simulation(SimulationPlan(), OVERLOAD)
        simulation.manager.use_policy(ClairvoyantPolicy(cost, order, 0.2, 40.0), 0.0)
        best = max(best, attainment(simulation.run()))
    assert attainment(run(OVERLOAD, policy="hybrid")) >= 0.9 * best


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_sick_engine_loses_no_request(kind: FaultKind) -> None:
    outcomes = run(HALF, faults=(EngineFault(kind, 10.0),))
    assert len(outcomes) == len(HALF)
    assert all(o.served for o in outcomes)
    assert all(o.tokens == o.arrival.output_tokens for o in outcomes)


@pytest.mark.long
def test_one_greedy_tenant_takes_nothing_from_the_others_and_service_is_shared_fairly() -> None:
    tenants = with_a_greedy_one(3, 1.3)
    everybody = generate(LoadPlan(120.0, 3, tenants), CONFIG, seed=4)
    alone = run(without_tenant(everybody, GREEDY))
    crowded = run(everybody)
    for tenant in tenants[1:]:
        # In the first seconds prices are learned.
        one, other = (
            attainment([o for o in outcomes if o.arrival.tenant == tenant.name and o.arrival.at_seconds >= 20.0])
            for outcomes in (alone, crowded)
        )
        assert other >= one - 0.03
    assert measure(crowded, 120.0, CONFIG).jain >= 0.95
