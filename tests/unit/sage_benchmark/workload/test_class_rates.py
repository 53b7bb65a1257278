"""Chats and bulk work arrive at the stated rates, whatever the engines can do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.class_rates import ClassRates
from sage_benchmark.workload.workload import offered_load
from sage_control_plane.request.request import RequestKind, ServiceClass

CONFIG = EngineModelConfig()
SLOW = replace(CONFIG, step_base_seconds=1.0)
RATES = ClassRates(seconds=2000.0)


def of_class(arrivals: list[Arrival], service_class: ServiceClass) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival.service_class is service_class]


@pytest.mark.parametrize(
    ("rates", "scale"),
    [(RATES, 1.0), (replace(RATES, engines=2, load=0.5, tenants=3), 1.0), (replace(RATES, load=2.0), 2.0)],
)
def test_rates_hold_for_each_engine_and_load(rates: ClassRates, scale: float) -> None:
    arrivals = rates.arrivals(CONFIG, 1)
    assert len(of_class(arrivals, ServiceClass.INTERACTIVE)) / 2000 == pytest.approx(2.0 * scale, rel=0.08)
    assert len(of_class(arrivals, ServiceClass.BULK)) / 2000 == pytest.approx(0.45 * scale, rel=0.12)


def test_lengths_are_what_was_asked_for_and_everything_is_streamed() -> None:
    arrivals = RATES.arrivals(CONFIG, 1)
    assert {(a.service_class, a.kind, a.output_tokens, a.max_tokens, a.streaming) for a in arrivals} == {
        (ServiceClass.INTERACTIVE, RequestKind.LLM_CHAT, 24, 24, True),
        (ServiceClass.BULK, RequestKind.LLM_GENERATE, 220, 220, True),
    }


def test_arrivals_are_in_order_and_depend_on_the_seed_alone() -> None:
    arrivals = RATES.arrivals(CONFIG, 1)
    assert [a.index for a in arrivals] == list(range(len(arrivals)))
    assert [a.at_seconds for a in arrivals] == sorted(a.at_seconds for a in arrivals)
    assert RATES.arrivals(SLOW, 1) == arrivals
    assert RATES.arrivals(CONFIG, 2) != arrivals


def test_a_class_without_a_rate_does_not_arrive() -> None:
    chats = of_class(RATES.arrivals(CONFIG, 1), ServiceClass.INTERACTIVE)
    alone = replace(RATES, bulk_rate=0.0).arrivals(CONFIG, 1)
    assert alone == [replace(chat, index=index) for index, chat in enumerate(chats)]


def test_a_warm_up_asks_for_half() -> None:
    warm_up = replace(RATES, load=2.0).warm_up(1000.0)
    assert len(of_class(warm_up.arrivals(CONFIG, 1), ServiceClass.INTERACTIVE)) / 1000 == pytest.approx(1.0, rel=0.12)


def test_what_is_offered_is_a_multiple_of_what_the_engines_can_do() -> None:
    arrivals = RATES.arrivals(CONFIG, 1)
    assert offered_load(RATES, arrivals, SLOW) > 1 > offered_load(RATES, arrivals, CONFIG)
    of_two = offered_load(replace(RATES, engines=2), arrivals, CONFIG)
    assert of_two == pytest.approx(offered_load(RATES, arrivals, CONFIG) / 2)
