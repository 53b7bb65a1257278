"""Who is up when, in a comparison; with real requests to simulated engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from sage_benchmark.live.comparison import ComparisonPlan, compare_systems
from sage_benchmark.live.simulated_pool import SimulatedPool, simulated_pool
from sage_benchmark.live.system_under_load import Contender, DirectSystem, SystemUnderLoad
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.workload.class_rates import ClassRates
from sage_common.errors import InvalidRequestError

RATES = ClassRates(engines=2, seconds=0.5, chat_rate=20.0, bulk_rate=4.0, chat_tokens=2, bulk_tokens=4)
PLAN = ComparisonPlan((RATES,), repetitions=2, seed=1, warm_up_seconds=0.2)


@pytest.fixture(scope="module")
def pool() -> Iterator[SimulatedPool]:
    with simulated_pool(2, SimulatedModels()) as running:
        yield running


class Named(DirectSystem):
    """Nothing in front, under a name."""

    def __init__(self, pool: SimulatedPool, name: str) -> None:
        super().__init__(pool)
        self.name = name


def contenders(pool: SimulatedPool, diary: list[str]) -> list[Contender]:
    @contextmanager
    def up(name: str) -> Iterator[SystemUnderLoad]:
        diary.append(f"{name} up")
        yield Named(pool, name)
        diary.append(f"{name} down")

    return [Contender(name, lambda name=name: up(name), "nothing") for name in ("a", "b")]  # type: ignore[misc]


def test_alone_each_system_is_up_for_its_own_runs_only(pool: SimulatedPool) -> None:
    diary: list[str] = []
    found = compare_systems(replace(PLAN, alone=True), pool, contenders(pool, diary), lambda _: None)
    turns = [diary[place : place + 2] for place in range(0, len(diary), 2)]
    # The second repetition begins with the other system.
    assert turns == [[f"{name} up", f"{name} down"] for name in ("a", "b", "b", "a")]
    assert [(system.name, len(system.runs)) for system in found.systems] == [("a", 2), ("b", 2)]


def test_together_all_are_up_from_the_first_run_to_the_last(pool: SimulatedPool) -> None:
    diary: list[str] = []
    found = compare_systems(PLAN, pool, contenders(pool, diary), lambda _: diary.append("run"))
    assert diary == ["a up", "b up", "run", "run", "run", "run", "b down", "a down"]
    for first, second in zip(*(system.runs for system in found.systems), strict=True):
        assert first.requests == second.requests
        assert first.errors == second.errors == {}


def test_the_client_goes_to_each_engine_in_turn_where_there_is_no_front(pool: SimulatedPool) -> None:
    before = [engine.prompt_tokens()[0] for engine in pool.engines]
    compare_systems(PLAN, pool, [Contender.running(DirectSystem(pool), DirectSystem.told)], lambda _: None)
    assert all(engine.prompt_tokens()[0] > tokens for engine, tokens in zip(pool.engines, before, strict=True))


def test_a_run_in_which_nothing_would_arrive_is_refused(pool: SimulatedPool) -> None:
    nothing = replace(PLAN, workloads=(replace(RATES, chat_rate=0.0, bulk_rate=0.0),))
    with pytest.raises(InvalidRequestError, match="no request"):
        compare_systems(nothing, pool, contenders(pool, []), lambda _: None)
