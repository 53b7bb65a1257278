"""Workloads offer what they say they offer, and the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from statistics import mean, pstdev

import pytest
from fixtures.arrivals import burst, without_tenant

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulated_engine.engine_model import EngineModel
from sage_benchmark.simulated_engine.engine_work import EngineWork
from sage_benchmark.workload.arrival import Arrival, offered_engine_seconds
from sage_benchmark.workload.mixed_load import (
    BURSTY,
    GREEDY,
    LoadPlan,
    SharedPrefixes,
    arrival_times,
    equal_tenants,
    generate,
    with_a_greedy_one,
)
from sage_benchmark.workload.request_shapes import MIXED, Lengths, RequestShape

CONFIG = EngineModelConfig()


@pytest.mark.parametrize(("cv", "tolerance"), [(1.0, 0.05), (BURSTY, 0.15)])
def test_arrivals_have_the_rate_and_the_burstiness_asked_for(cv: float, tolerance: float) -> None:
    times = list(arrival_times(random.Random(1), 50.0, 400.0, cv))
    gaps = [b - a for a, b in pairwise(times)]
    assert len(times) == pytest.approx(50 * 400, rel=tolerance)
    assert pstdev(gaps) / mean(gaps) == pytest.approx(cv, rel=tolerance)
    assert all(gap >= 0 for gap in gaps)
    assert 0 <= times[0] <= times[-1] < 400


def test_a_bursty_run_does_not_begin_in_a_lull() -> None:
    early = [len([*arrival_times(random.Random(seed), 20.0, 1.0, BURSTY)]) for seed in range(400)]
    assert mean(early) == pytest.approx(20, rel=0.15)


@pytest.mark.parametrize("lengths", [Lengths(200, 0.8, 50, 2000), Lengths(7, 0.0, 1, 10)])
def test_the_mean_of_lengths_is_the_mean_of_what_is_drawn(lengths: Lengths) -> None:
    rng = random.Random(3)
    drawn = [lengths.draw(rng) for _ in range(20_000)]
    assert mean(drawn) == pytest.approx(lengths.mean(), rel=0.02)
    assert min(drawn) >= lengths.low
    assert max(drawn) <= lengths.high


def share_of(arrivals: list[Arrival], shape: RequestShape) -> float:
    part = [a for a in arrivals if a.kind is shape.kind and a.service_class is shape.service_class]
    return offered_engine_seconds(part, CONFIG) / offered_engine_seconds(arrivals, CONFIG)


@pytest.mark.long
def test_the_mixed_load_offers_its_shares_and_its_multiple_of_saturation() -> None:
    arrivals = generate(LoadPlan(1200.0, 3, equal_tenants(1, 1.3)), CONFIG, seed=5)
    assert offered_engine_seconds(arrivals, CONFIG) / 1200 / 3 == pytest.approx(1.3, rel=0.03)
    assert {shape.name: share_of(arrivals, shape) for shape in MIXED} == pytest.approx(
        {"chat": 0.35, "generate": 0.15, "embedding": 0.15, "bulk": 0.35}, abs=0.02
    )
    assert [a.index for a in arrivals] == list(range(len(arrivals)))
    assert [a.at_seconds for a in arrivals] == sorted(a.at_seconds for a in arrivals)
    assert all(a.max_tokens >= a.output_tokens for a in arrivals)


def test_the_same_seed_gives_the_same_workload_and_another_one_another() -> None:
    plan = LoadPlan(30.0, 3, equal_tenants(3, 1.0), prefixes=SharedPrefixes())
    assert generate(plan, CONFIG, 1) == generate(plan, CONFIG, 1)
    assert generate(plan, CONFIG, 1) != generate(plan, CONFIG, 2)


def backlog(load: float) -> int:
    """Requests that one engine has left when all have arrived."""
    model = EngineModel(CONFIG)
    for arrival in generate(LoadPlan(240.0, 1, equal_tenants(1, load)), CONFIG, seed=11):
        while (due := model.next_event_at) is not None and due <= arrival.at_seconds:
            model.advance(due)
        work = EngineWork(str(arrival.index), arrival.kind, arrival.input_tokens, arrival.output_tokens)
        model.submit(arrival.at_seconds, work)
    return model.waiting


def test_the_engine_model_keeps_up_below_saturation_and_not_above_it() -> None:
    assert backlog(0.85) < 20
    assert backlog(1.3) > 400


def test_a_greedy_tenant_changes_nothing_for_the_requests_of_the_others() -> None:
    tenants = with_a_greedy_one(5, 0.9)
    arrivals = generate(LoadPlan(60.0, 3, tenants), CONFIG, seed=2)
    alone = generate(LoadPlan(60.0, 3, tenants[1:]), CONFIG, seed=2)
    assert without_tenant(arrivals, GREEDY) == alone
    work = Counter[str]()
    for arrival in arrivals:
        work[arrival.tenant] += offered_engine_seconds([arrival], CONFIG)  # type: ignore[assignment]
    assert work[GREEDY] / (work.total() - work[GREEDY]) == pytest.approx(2.0 / 0.72, rel=0.15)


def test_a_burst_is_equal_requests_at_one_moment() -> None:
    arrivals = burst(60)
    assert len({(a.at_seconds, a.input_tokens, a.output_tokens, a.kind) for a in arrivals}) == 1
    assert [a.index for a in arrivals] == list(range(60))
