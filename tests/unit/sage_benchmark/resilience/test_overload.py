from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_benchmark.report.bars import Bar
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.resilience.overload import OverloadPlan, _phase, _recovery_seconds, _result
from sage_benchmark.resilience.watched_processes import WatchedProcesses
from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.request import RequestKind, ServiceClass

PLAN = OverloadPlan(seconds=20.0, calm_seconds=10.0)


def chat(at: float, *, ttft: float = 0.1, status: int = 200, took: float = 0.2) -> RequestOutcome:
    arrival = Arrival(0, at, RequestKind.LLM_CHAT, "t", 10, 2, ServiceClass.INTERACTIVE)
    if status != 200:
        return RequestOutcome(arrival, at, finished_at=at + took, status=status, error=f"http_{status}")
    return RequestOutcome(arrival, at, at + ttft, at + ttft + 0.02, tokens=2, status=200)


def lost(at: float) -> RequestOutcome:
    return RequestOutcome(chat(at).arrival, at, finished_at=at + 45.0, error="timeout")


def test_a_phase_tells_served_refused_and_failed_apart() -> None:
    outcomes = [chat(1.0), chat(2.0, ttft=3.0), chat(3.0, status=429, took=0.01), chat(4.0, status=503), lost(5.0)]
    phase = _phase("one", [*outcomes, chat(11.0)], 0.0, 10.0)
    assert (phase.arrived, phase.served, phase.refused, phase.failed) == (5, 2, 2, {"timeout": 1})
    assert (phase.attainment, phase.good_per_second) == (0.5, 0.1)
    assert phase.refused_p99_ms == pytest.approx(200)
    assert (phase.refused_slowly, phase.sent_late_p99_ms) == (1, 0.0)


def test_a_load_generator_that_lags_is_seen() -> None:
    lagging = [replace(chat(float(at)), sent_at=at + 0.08) for at in range(5)]
    assert _phase("one", lagging, 0.0, 10.0).sent_late_p99_ms == pytest.approx(80)


def test_recovery_is_the_time_from_which_on_enough_chats_are_in_time() -> None:
    late = [chat(30.5, ttft=2.0), chat(31.0, status=429)]
    good = [chat(31.5 + number / 10) for number in range(20)]
    assert _recovery_seconds([chat(5.0, status=429), *late, *good], 30.0) == pytest.approx(1.5)
    assert _recovery_seconds(good, 30.0) == pytest.approx(1.5)
    assert _recovery_seconds(late, 30.0) == float("inf")


def test_a_long_calm_does_not_hide_the_second_after_the_overload() -> None:
    late = [chat(30.0 + number / 10, ttft=2.0) for number in range(10)]
    good = [chat(31.0 + number / 10) for number in range(300)]
    assert _recovery_seconds([*late, *good], 30.0) >= 0.9


def test_where_no_chat_comes_afterwards_nothing_says_that_they_are_in_time_again() -> None:
    assert _recovery_seconds([chat(5.0)], 30.0) == float("inf")


def test_good_chats_of_an_overload_are_not_held_against_a_time_that_had_none() -> None:
    bars = bars_of([chat(10 + at / 5) for at in range(100)], [100.0] * 20)
    bar = bars["chats/s within their targets in the overload, against before"]
    assert (bar.value, bar.reached) == (0.0, False)


def bars_of(outcomes: list[RequestOutcome], resident: list[float]) -> dict[str, Bar]:
    watched = WatchedProcesses(IsolatedMesh(Path(), {}, None), ("gateway",))  # type: ignore[arg-type]
    began = time.monotonic()
    watched.resident_mb = {"gateway": [(began + 2 * second, mb) for second, mb in enumerate(resident)]}
    result = _result(PLAN, outcomes, watched, began)
    assert result.to_json()["bars"][0]["reached"] == result.bars[0].reached
    return {bar.name: bar for bar in result.bars}


def test_an_overload_that_is_refused_at_once_reaches_every_bar() -> None:
    calm = [chat(at / 2) for at in range(20)] + [chat(30 + at / 2) for at in range(20)]
    over = [chat(10 + at / 5) for at in range(100)] + [chat(10 + at / 10, status=429, took=0.01) for at in range(200)]
    bars = bars_of([*calm, *over], [100.0] * 20)
    assert [name for name, bar in bars.items() if not bar.reached] == []


def test_waiting_in_vain_slow_refusals_and_growing_memory_each_miss_their_bar() -> None:
    calm = [chat(at / 2) for at in range(20)] + [chat(30 + at / 2, ttft=2.0) for at in range(20)]
    over = [chat(10 + at / 5, ttft=5.0) for at in range(50)] + [chat(20.0, status=429, took=0.5), lost(21.0)]
    bars = bars_of([*calm, *over], [100.0] * 11 + [200.0] * 9)
    assert [name for name, bar in bars.items() if bar.reached] == []
