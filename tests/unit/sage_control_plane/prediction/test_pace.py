"""What is learned of speed."""

from __future__ import annotations

import pytest

from sage_control_plane.prediction.pace import DecayedRate, Pace


def test_a_new_engine_is_taken_for_an_average_one() -> None:
    assert Pace().seconds_per_token(0.002) == pytest.approx(0.002)


def test_a_slow_engine_is_found_out() -> None:
    pace = Pace()
    for _ in range(100):
        pace.record(500, 5.0)
    assert pace.seconds_per_token(0.001) == pytest.approx(0.01, rel=0.15)


def test_an_engine_that_recovers_is_forgiven() -> None:
    pace = Pace()
    for _ in range(200):
        pace.record(500, 5.0)
    for _ in range(600):
        pace.record(500, 0.5)
    assert pace.seconds_per_token(0.001) == pytest.approx(0.001, rel=0.1)


def test_the_rate_is_that_of_the_recent_past() -> None:
    rate = DecayedRate(window_seconds=10)
    assert rate.per_second(0.0) == 0
    for tenth in range(1000):
        rate.add(5, tenth / 10)
    assert rate.per_second(100.0) == pytest.approx(50, rel=0.02)
    assert rate.per_second(200.0) < 0.01


@pytest.mark.parametrize("seconds", [1, 5, 10, 20, 100])
def test_a_steady_rate_is_seen_at_its_height_from_the_beginning(seconds: int) -> None:
    """What is seen of the first window is a part of it, and that part decays too."""
    rate = DecayedRate(window_seconds=10)
    for hundredth in range(1, 100 * seconds + 1):
        rate.add(1, hundredth / 100)
    assert rate.per_second(float(seconds)) == pytest.approx(100, rel=0.02)


def test_a_short_past_is_not_taken_for_a_slow_one() -> None:
    rate = DecayedRate(window_seconds=10)
    for tenth in range(11):
        rate.add(10, tenth / 10)
    assert rate.per_second(1.0) == pytest.approx(100, rel=0.2)
