"""Figures count every request that was sent, and fairness is what its source says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_benchmark.report.fairness import jain_index, max_min_shares, service_fairness
from sage_benchmark.report.metrics import Percentiles, measure, spread, ttft_for_cdf
from sage_benchmark.report.outcome import RequestOutcome, level_of, meets
from sage_benchmark.report.timeline import timeline_of
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.request import RequestKind, ServiceClass

CONFIG = EngineModelConfig()


def outcome(
    index: int = 0,
    *,
    first: float | None = 0.1,
    end: float | None = 1.0,
    tokens: int = 11,
    tenant: str = "a",
    service_class: ServiceClass = ServiceClass.INTERACTIVE,
    status: int = 200,
    error: str = "",
    at: float = 10.0,
) -> RequestOutcome:
    arrival = Arrival(index, at, RequestKind.LLM_CHAT, tenant, 100, tokens, service_class)
    times = (None if first is None else at + first, None if end is None else at + end)
    return RequestOutcome(arrival, at, *times, tokens, status, error, engine="e1")


@pytest.mark.parametrize(
    ("given", "met"),
    [
        (outcome(first=0.5, end=1.0), True),
        (outcome(first=0.51, end=1.0), False),
        (outcome(first=0.1, end=0.61), False),
        (outcome(first=0.1, end=0.1, tokens=1), True),
        (outcome(error="incomplete"), False),
        (outcome(status=429, error="http_429", first=None), False),
        (outcome(service_class=ServiceClass.BULK, first=500.0, end=3000.0), True),
        (outcome(service_class=ServiceClass.EMBEDDING, first=0.2, end=0.2, tokens=0), True),
        (outcome(service_class=ServiceClass.EMBEDDING, first=0.3, end=0.3, tokens=0), False),
    ],
)
def test_a_request_meets_its_targets_only_if_it_was_served_within_all_of_them(given: RequestOutcome, met: bool) -> None:
    assert meets(given, level_of(given.arrival)) is met


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        (outcome(first=0.1, end=1.0), 11.0),
        (outcome(first=0.1, end=1.0, at=19.5), 11 * 0.4 / 0.9),
        (replace(outcome(first=0.1, end=1.0, at=19.5), token_times=(19.6, 19.9, 20.2, 20.5)), 5.5),
        (outcome(first=0.6, end=1.0, at=19.5), 0.0),
        (outcome(first=None, end=1.0, tokens=0), 0.0),
    ],
)
def test_tokens_in_time_are_those_that_came_while_requests_arrived(given: RequestOutcome, tokens: float) -> None:
    assert measure([given], 20.0, CONFIG).tokens_in_time == pytest.approx(tokens / 20)


def test_first_tokens_are_counted_to_the_limit_that_was_asked_for() -> None:
    outcomes = [outcome(0, first=0.3), outcome(1, first=0.7), outcome(2, first=0.2, error="incomplete")]
    assert measure(outcomes, 20.0, CONFIG, 0.5).by_class["interactive"].within == pytest.approx(1 / 3)
    assert measure(outcomes, 20.0, CONFIG).by_class["interactive"].within == pytest.approx(2 / 3)


def test_rejects_and_time_outs_are_misses_in_every_figure() -> None:
    outcomes = [
        outcome(0, end=0.5),
        outcome(1, first=0.9, tenant="b"),
        outcome(2, status=429, error="http_429", first=None, tokens=0),
        outcome(3, status=0, error="timeout", first=0.1, end=120.0, tokens=3),
    ]
    metrics = measure(outcomes, 20.0, CONFIG)
    assert (metrics.requests, metrics.attainment, metrics.goodput, metrics.throughput) == (4, 0.25, 0.05, 0.1)
    assert metrics.errors == {"http_429": 1, "timeout": 1}
    assert metrics.engines == {"e1": 2}
    assert metrics.tokens_per_second == 25 / 20
    group = metrics.by_class["interactive"]
    assert (group.requests, group.attainment, group.served) == (4, 0.25, 0.5)
    assert {name: tenant.attainment for name, tenant in metrics.by_tenant.items()} == {"a": 1 / 3, "b": 0.0}
    assert group.ttft.p50 == pytest.approx(100)
    assert group.ttft.p99 == pytest.approx(900)
    assert ttft_for_cdf(outcomes, ServiceClass.INTERACTIVE) == pytest.approx([0.1, 0.9, float("inf"), float("inf")])


def test_percentiles_are_by_rank_and_none_of_nothing() -> None:
    assert Percentiles.of(index / 1000 for index in range(1, 101)) == Percentiles(100, 51.0, 96.0, 100.0)
    assert Percentiles.of([]) == Percentiles(0, 0.0, 0.0, 0.0)


def test_jains_index_is_one_for_equals_and_one_nth_for_a_monopoly() -> None:
    assert jain_index([3, 3, 3]) == pytest.approx(1)
    assert jain_index([1, 0, 0, 0]) == pytest.approx(0.25)
    assert jain_index([]) == 1.0


def test_who_asks_for_little_gets_it_and_the_rest_is_divided_by_weight() -> None:
    shares = max_min_shares({"a": 1.0, "b": 10.0, "c": 10.0}, {"c": 2.0}, 10.0)
    assert shares == pytest.approx({"a": 1.0, "b": 3.0, "c": 6.0})
    assert service_fairness(shares, {"a": 1.0, "b": 10.0, "c": 10.0}, {"c": 2.0}) == pytest.approx(1)
    greedy_took_it = {"a": 0.2, "b": 9.6, "c": 0.2}
    assert service_fairness(greedy_took_it, {"a": 1.0, "b": 90.0, "c": 1.0}, {}) < 0.75


names = st.sampled_from("abcdef")
amounts = st.floats(0, 100)


@given(st.dictionaries(names, amounts, min_size=1), st.dictionaries(names, st.floats(0.1, 10)), amounts)
def test_shares_use_up_the_capacity_or_meet_all_demands(
    demands: dict[str, float], weights: dict[str, float], capacity: float
) -> None:
    shares = max_min_shares(demands, weights, capacity)
    assert shares.keys() == demands.keys()
    assert all(shares[name] <= demand + 1e-6 for name, demand in demands.items())
    assert sum(shares.values()) == pytest.approx(min(capacity, sum(demands.values())), abs=1e-6)


def test_repetitions_are_summed_up_figure_by_figure() -> None:
    runs = [measure([outcome(end=0.5)], 10.0, CONFIG), measure([outcome(first=0.7, end=0.9)], 10.0, CONFIG)]
    figures = spread(runs)
    assert (figures["goodput"].mean, figures["goodput"].low, figures["goodput"].high) == (0.05, 0.0, 0.1)
    assert figures["by_class.interactive.ttft.p50"].mean == pytest.approx(400)
    assert spread(runs[:1])["goodput"].deviation == 0
    with pytest.raises(ValueError, match="no repetition"):
        spread([])


def test_a_timeline_runs_from_arrival_to_the_last_token_without_gaps() -> None:
    spans = timeline_of(outcome(), "one").spans
    assert spans[0].start_ms == 0
    assert [a.end_ms for a in spans[:-1]] == [b.start_ms for b in spans[1:]]
    assert spans[-1].end_ms == pytest.approx(1000)
    failed = timeline_of(outcome(first=None, status=429, error="http_429"), "refused").spans
    assert failed[-1].end_ms == pytest.approx(1000)
