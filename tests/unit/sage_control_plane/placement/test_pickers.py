"""Pickers choose among free engines."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from fixtures.control_plane import engine, forecast

from sage_common.errors import InvalidRequestError
from sage_control_plane.placement.pickers import PICKERS, Judge, make_picker
from sage_control_plane.pool.breaker import Breaker
from sage_control_plane.pool.breaker_settings import BreakerSettings
from sage_control_plane.pool.credits import Credits
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.prediction.pace import Pace


def entries(count: int) -> list[EngineEntry]:
    made = []
    for number in range(count):
        state = engine(f"e{number:03}")
        breaker = Breaker(BreakerSettings())
        made.append(
            EngineEntry(state.spec.engine_id, state, Credits(state.spec, 0.0), breaker, Pace(), 1e-3, forecast())
        )
    return made


def scores(values: dict[str, float | None]) -> Judge:
    return lambda view: values[view.engine_id]


@pytest.mark.parametrize("name", sorted(PICKERS))
def test_a_picker_never_takes_a_refused_engine(name: str) -> None:
    engines = entries(40)
    only = {entry.engine_id: (0.5 if number == 17 else None) for number, entry in enumerate(engines)}
    picker = make_picker(name)
    for seed in range(50):
        assert picker.pick(engines, scores(only), Random(seed))[0][0].engine_id == "e017"


@pytest.mark.parametrize("name", sorted(PICKERS))
def test_a_picker_takes_nothing_when_all_are_refused(name: str) -> None:
    assert make_picker(name).pick(entries(3), lambda view: None, Random(1)) == []


@pytest.mark.parametrize("name", sorted(PICKERS))
def test_the_same_seed_gives_the_same_choices(name: str) -> None:
    engines = entries(50)
    judged = scores({entry.engine_id: 0.5 for entry in engines})

    def choices() -> list[str]:
        picker, random = make_picker(name), Random(5)
        return [picker.pick(engines, judged, random)[0][0].engine_id for _ in range(30)]

    assert choices() == choices()


def test_argmin_takes_the_best_and_reports_all() -> None:
    engines = entries(3)
    considered = make_picker("argmin").pick(engines, scores({"e000": 0.1, "e001": 0.9, "e002": 0.5}), Random(1))
    assert considered[0][0].engine_id == "e001"
    assert {view.engine_id: score for view, score in considered} == {"e000": 0.1, "e001": 0.9, "e002": 0.5}


def test_equals_are_used_in_turn() -> None:
    engines = entries(3)
    picker, used = make_picker("argmin"), []
    for _ in range(6):
        chosen = picker.pick(engines, lambda view: 0.5, Random(1))[0][0]
        next(entry for entry in engines if entry is chosen).dispatched += 1
        used.append(chosen.engine_id)
    assert used == ["e000", "e001", "e002"] * 2


def test_power_of_two_looks_at_two_only_and_spreads_well() -> None:
    engines = entries(100)
    loads: Counter[str] = Counter()
    looked: list[str] = []

    def judge(view: object) -> float:
        looked.append(view.engine_id)  # type: ignore[attr-defined]
        return 1.0 / (1 + loads[view.engine_id])  # type: ignore[attr-defined]

    picker, random = make_picker("power_of_two"), Random(3)
    for _ in range(1000):
        loads[picker.pick(engines, judge, random)[0][0].engine_id] += 1
    assert len(looked) == 2000
    assert max(loads.values()) <= 14  # a mean of 10; one random choice would reach about 19


def test_round_robin_goes_round_whoever_is_free() -> None:
    engines = entries(3)
    picker = make_picker("round_robin")

    def pick(free: list[EngineEntry]) -> str:
        return picker.pick(free, lambda view: 0.5, Random(1))[0][0].engine_id

    assert [pick(engines) for _ in range(4)] == ["e000", "e001", "e002", "e000"]
    assert pick(engines[2:]) == "e002"
    assert pick(engines) == "e000"


def test_an_unknown_picker_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(InvalidRequestError, match=r"no picker is called 'best'; known: adaptive, argmin"):
        make_picker("best")
