"""No policy, no clairvoyant order and no order at all serves more than the bound; in simple cases one does as well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_benchmark.bound import upper_bound
from sage_benchmark.bound.demand import demand_of
from sage_benchmark.bound.upper_bound import most_within_targets
from sage_benchmark.report.outcome import OK, RequestOutcome, level_of, meets
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulated_engine.engine_model import EngineModel
from sage_benchmark.simulated_engine.engine_work import EngineWork
from sage_benchmark.simulator.clairvoyant import ClairvoyantOrder, ClairvoyantPolicy
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import SimulationPlan
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.mixed_load import SharedPrefixes
from sage_benchmark.workload.request_shapes import BULK, CHAT
from sage_control_plane.policies.registry import policy_names
from sage_control_plane.request.request import RequestKind, ServiceClass

# An engine on which few requests are enough for a crowd: prompts of tenths of a second, TPOT kept by three sequences.
SLOW = EngineModelConfig(
    prefill_tokens_per_second=1_000.0, step_base_seconds=0.02, step_per_sequence_seconds=0.01, max_num_seqs=4
)


def chat(index: int, at: float, prompt: int, answer: int) -> Arrival:
    kind, service_class = RequestKind.LLM_CHAT, ServiceClass.INTERACTIVE
    return Arrival(index, at, kind, "tenant-1", prompt, answer, service_class, answer)


def bulk(index: int, at: float, prompt: int, answer: int) -> Arrival:
    kind, service_class = RequestKind.LLM_GENERATE, ServiceClass.BULK
    return Arrival(index, at, kind, "tenant-1", prompt, answer, service_class, answer, streaming=False)


def bound(arrivals: Sequence[Arrival], config: EngineModelConfig, engines: int = 1, until: float = math.inf) -> int:
    return most_within_targets(demand_of(arrivals, config, until), engines).requests


# No order of a few requests


def served(arrivals: Sequence[Arrival], config: EngineModelConfig, until: float) -> int:
    """Requests of one engine that meet their targets when they are submitted in the order given."""
    model, outcomes, now = EngineModel(config), {}, 0.0
    for arrival in arrivals:
        now = max(now, arrival.at_seconds)
        outcomes[str(arrival.index)] = RequestOutcome(arrival, now, status=OK, tokens=arrival.output_tokens)
        model.submit(now, EngineWork(str(arrival.index), arrival.kind, arrival.input_tokens, arrival.output_tokens))
    emissions = model.advance(now)
    while (at := model.next_event_at) is not None:
        emissions += model.advance(at)
    for key, at, first, _, finished in emissions:
        outcome = outcomes[key]
        if first == 0 and (outcome.arrival.streaming or finished):
            outcome = replace(outcome, first_token_at=at)
        outcomes[key] = replace(outcome, finished_at=at) if finished else outcome
    in_time = [o for o in outcomes.values() if o.arrival.streaming or (o.finished_at or 0.0) <= until]
    return sum(meets(outcome, level_of(outcome.arrival)) for outcome in in_time)


def orders(arrivals: Sequence[Arrival], engines: int) -> Iterator[list[list[Arrival]]]:
    """Every choice of some of the requests, an engine for each of them, and an order."""
    for placed in product(range(engines + 1), repeat=len(arrivals)):
        on = [[a for a, engine in zip(arrivals, placed, strict=True) if engine == one] for one in range(engines)]
        yield from (list(map(list, each)) for each in product(*(permutations(some) for some in on)))


@st.composite
def few_requests(draw: st.DrawFn) -> list[Arrival]:
    made = []
    for index in range(draw(st.integers(1, 4))):
        at, kind = draw(st.integers(0, 8)) / 10, draw(st.sampled_from([chat, chat, bulk]))
        made.append(kind(index, at, draw(st.integers(1, 450)), draw(st.integers(1, 60))))
    return sorted(made, key=lambda arrival: arrival.at_seconds)


@given(
    few_requests(),
    st.integers(1, 2),
    st.integers(1, 4),
    st.sampled_from([0.002, 0.01, 0.025]),
    st.sampled_from([2.0, 9.0]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_order_of_a_few_requests_serves_more(
    arrivals: list[Arrival], engines: int, seats: int, per_sequence: float, until: float
) -> None:
    config = replace(SLOW, max_num_seqs=seats, step_per_sequence_seconds=per_sequence)
    most = bound([replace(a, index=i) for i, a in enumerate(arrivals)], config, engines, until)
    assert most >= max(sum(served(one, config, until) for one in order) for order in orders(arrivals, engines))


# No policy, and no order that knows the lengths


@pytest.mark.parametrize("cv", [1.0, 3.0])
@pytest.mark.parametrize(("seats", "engines", "load"), [(2, 1, 1.5), (4, 2, 2.0), (16, 1, 1.2)])
@pytest.mark.parametrize("per_sequence", [pytest.param(0.002, marks=pytest.mark.long), 0.01])
def test_no_policy_serves_more(cv: float, seats: int, engines: int, load: float, per_sequence: float) -> None:
    config = replace(SLOW, max_num_seqs=seats, step_per_sequence_seconds=per_sequence)
    shapes = (replace(CHAT, share=0.7), replace(BULK, share=0.3))
    arrivals = LoadSettings(engines, 200.0, load, cv, 1, shapes=shapes).arrivals(config, 1)
    assert_none_serves_more(arrivals, config, engines)


@pytest.mark.parametrize("load", [0.8, 2.0])
def test_no_policy_serves_more_of_the_mixed_load_with_shared_prompts(load: float) -> None:
    config = EngineModelConfig()
    arrivals = LoadSettings(1, 30.0, load, prefixes=SharedPrefixes(groups=2)).arrivals(config, 1)
    assert_none_serves_more(arrivals, config, 1)


def assert_none_serves_more(arrivals: Sequence[Arrival], config: EngineModelConfig, engines: int) -> None:
    demand = demand_of(arrivals, config)
    chats = np.array([a.service_class is ServiceClass.INTERACTIVE for a in arrivals], dtype=np.bool_)
    most = most_within_targets(demand, engines).requests
    most_chats = most_within_targets(demand, engines, chats).requests
    assert most_chats <= most <= len(arrivals)
    cost = {str(a.index): config.engine_seconds(a.kind, a.input_tokens, a.output_tokens) for a in arrivals}
    for policy in [*policy_names(), *ClairvoyantOrder]:
        by_name = policy if isinstance(policy, str) else "fifo"
        simulation = Simulation(SimulationPlan(engines, by_name, config), arrivals)
        if isinstance(policy, ClairvoyantOrder):
            simulation.manager.use_policy(ClairvoyantPolicy(cost, policy, 0.0, arrivals[-1].at_seconds), 0.0)
        met = [o.arrival for o in simulation.run() if meets(o, level_of(o.arrival))]
        assert len(met) <= most
        assert sum(a.service_class is ServiceClass.INTERACTIVE for a in met) <= most_chats


# Where it is exact


def test_one_request_that_fits_is_served() -> None:
    assert bound([chat(0, 0.0, 400, 100)], SLOW) == 1


def test_a_prompt_that_takes_longer_than_its_target_is_not() -> None:
    assert bound([chat(0, 0.0, 501, 100)], SLOW) == 0
    assert served([chat(0, 0.0, 501, 100)], SLOW, math.inf) == 0


def test_an_engine_whose_steps_alone_are_too_long_serves_none() -> None:
    assert bound([chat(0, 0.0, 10, 100)], replace(SLOW, step_base_seconds=0.05)) == 0


@pytest.mark.parametrize(
    ("arrivals", "config", "most"),
    [
        # Prompts of 0.2 s, of which two are computed within 0.5 s.
        ([chat(i, 0.0, 200, 1) for i in range(5)], SLOW, 2),
        # Two seats, each held longer than another chat can wait.
        ([chat(i, 0.0, 10, 100) for i in range(5)], replace(SLOW, max_num_seqs=2), 2),
        # Seats enough; but a batch of three takes 50 ms a step, and no more chats than three can share such steps.
        ([chat(i, 0.0, 1, 400) for i in range(6)], replace(SLOW, max_num_seqs=16), 3),
    ],
)
def test_it_is_what_the_best_order_serves(arrivals: list[Arrival], config: EngineModelConfig, most: int) -> None:
    assert bound(arrivals, config) == most
    assert max(served(arrivals[:some], config, math.inf) for some in range(len(arrivals) + 1)) == most


def test_bulk_work_counts_where_it_is_complete_in_time() -> None:
    # Ten answers of 1 s + 0.03 s a token, four at a time: 15 ms of engine time for each token.
    arrivals = [bulk(i, 0.0, 10, 101) for i in range(10)]
    assert bound(arrivals, SLOW, until=math.inf) == 10
    assert bound(arrivals, SLOW, until=6.1) == 4
    assert served(arrivals, SLOW, 6.1) == 4


def test_an_engine_more_serves_more() -> None:
    arrivals = [chat(i, 0.0, 200, 1) for i in range(5)]
    assert [bound(arrivals, SLOW, engines) for engines in (1, 2, 3)] == [2, 5, 5]


def test_requests_that_are_not_counted_take_no_time() -> None:
    arrivals = [chat(i, 0.0, 200, 1) for i in range(4)]
    counted = np.array([True, False, True, False])
    assert most_within_targets(demand_of(arrivals, SLOW), 1, counted).requests == 2


def test_stopping_early_only_raises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = (replace(CHAT, share=0.9), replace(BULK, share=0.1))
    arrivals = LoadSettings(1, 60.0, 2.0, 3.0, 1, shapes=shapes).arrivals(SLOW, 1)
    whole = bound(arrivals, SLOW)
    monkeypatch.setattr(upper_bound, "MOST_ROUNDS", 1)
    assert whole <= bound(arrivals, SLOW) < len(arrivals)


def test_nothing_is_served_of_nothing() -> None:
    assert bound([], SLOW) == 0
