"""The breaker opens for an engine's faults, for longer each time, and closes again."""

from __future__ import annotations

import pytest

from sage_common.errors import (
    ContendedError,
    DeadlineExceededError,
    EngineFailedError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    SageError,
    UnavailableError,
)
from sage_control_plane.pool.breaker import Breaker, BreakerState, Verdict, verdict_of
from sage_control_plane.pool.breaker_settings import BreakerSettings


def tripped_breaker(settings: BreakerSettings | None = None) -> Breaker:
    breaker = Breaker(settings or BreakerSettings(consecutive_failures=3))
    for _ in range(3):
        breaker.failed()
    return breaker


def test_it_trips_after_failures_in_a_row_only() -> None:
    breaker = Breaker(BreakerSettings(consecutive_failures=3))
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        assert not breaker.tripped
        breaker.succeeded()
    breaker.failed()
    breaker.failed()
    breaker.neutral()
    breaker.failed()
    assert breaker.tripped


def test_ejections_grow_up_to_the_longest() -> None:
    breaker = Breaker(BreakerSettings(base_ejection_seconds=1, max_ejection_seconds=6))
    lengths = []
    for _ in range(5):
        lengths.append(breaker.open())
        breaker.half_open()
    assert lengths == [1, 2, 4, 6, 6]


def test_successes_earn_short_ejections_back() -> None:
    breaker = Breaker(BreakerSettings(base_ejection_seconds=1))
    for _ in range(3):
        breaker.open()
        breaker.half_open()
    for _ in range(4):
        breaker.succeeded()
    assert breaker.open() == 1


def test_half_open_admits_one_probe_and_closes_on_its_success() -> None:
    breaker = tripped_breaker()
    breaker.open()
    assert not breaker.admits
    breaker.half_open()
    assert breaker.admits
    breaker.dispatched()
    assert not breaker.admits
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.admits


def test_a_failed_probe_trips_it_at_once() -> None:
    breaker = tripped_breaker()
    breaker.open()
    breaker.half_open()
    breaker.dispatched()
    breaker.failed()
    assert breaker.tripped


def test_a_probe_that_says_nothing_frees_the_place_for_another() -> None:
    breaker = tripped_breaker()
    breaker.open()
    breaker.half_open()
    breaker.dispatched()
    breaker.neutral()
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admits


def test_a_late_success_does_not_end_an_ejection() -> None:
    breaker = tripped_breaker()
    breaker.open()
    breaker.succeeded()
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidRequestError("x"), Verdict.NEUTRAL),
        (NotFoundError("x"), Verdict.NEUTRAL),
        (ContendedError("x"), Verdict.NEUTRAL),
        (UnavailableError("x"), Verdict.NEUTRAL),
        (InternalError("x"), Verdict.FAILED),
        (EngineFailedError("x"), Verdict.FAILED),
        (DeadlineExceededError("x"), Verdict.FAILED),
        (EngineFailedError("x", upstream_status=400), Verdict.NEUTRAL),
        (EngineFailedError("x", upstream_status=429), Verdict.NEUTRAL),
        (EngineFailedError("x", upstream_status=503), Verdict.NEUTRAL),
        (EngineFailedError("x", upstream_status=500), Verdict.FAILED),
        (UnavailableError("x", upstream_status=502), Verdict.FAILED),
    ],
)
def test_only_the_engines_own_faults_count(error: SageError, expected: Verdict) -> None:
    assert verdict_of(error) is expected
