"""What is seen of a stream: how often, in what bursts, and for how long each of it holds a seat."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from random import Random

import pytest

from sage_control_plane.prediction.demand import MOST_PEAKEDNESS, RATE_SECONDS, Demand


def gaps(per_second: float, cv: float, seed: int) -> Iterator[float]:
    """Gamma gaps with a coefficient of variation; with 1 they are those of a Poisson process."""
    random, shape = Random(seed), 1.0 / (cv * cv)
    while True:
        yield random.gammavariate(shape, 1.0 / (per_second * shape))


def seen(per_second: float, cv: float, seconds: float, seed: int) -> tuple[Demand, float]:
    """A stream that has come for so long, and when that ends."""
    demand, now = Demand(), 0.0
    for gap in gaps(per_second, cv, seed):
        if now + gap > seconds:
            return demand, seconds
        now += gap
        demand.arrived(now, 0.4, 50)
    raise AssertionError("gaps do not end")


@pytest.mark.parametrize("per_second", [1.0, 10.0])
def test_the_rate_is_what_was_seen_and_two_standard_errors(per_second: float) -> None:
    rates = []
    for seed in range(20):
        demand, now = seen(per_second, 1.0, 60.0, seed)
        rates.append(demand.per_second(now))
    # A decayed count over T sees 2 T seconds' worth: its standard error is sqrt(rate / 2 T).
    error = (per_second / (2.0 * RATE_SECONDS)) ** 0.5
    assert sum(rates) / len(rates) == pytest.approx(per_second + 2.0 * error, rel=0.15)
    assert sum(rate >= per_second for rate in rates) >= 18


def test_a_stream_fades_when_nothing_comes_any_more() -> None:
    demand, now = seen(5.0, 1.0, 60.0, seed=1)
    busy = demand.per_second(now)
    faded = [demand.per_second(now + seconds) for seconds in (5.0, 20.0, 120.0)]
    assert busy > faded[0] > faded[1] > faded[2]
    assert faded[1] < 0.5 * busy
    assert faded[2] < 0.02


def test_bursts_are_told_from_an_even_stream() -> None:
    def mean_peakedness(cv: float) -> float:
        return sum(seen(10.0, cv, 60.0, seed)[0].peakedness for seed in range(20)) / 20

    assert mean_peakedness(1.0) == pytest.approx(1.0, abs=0.2)
    assert mean_peakedness(0.2) == 1.0
    # (1 + c²) / 2 for gaps with a coefficient of variation of 3 is 5.
    assert mean_peakedness(3.0) == pytest.approx(5.0, rel=0.35)


def test_a_single_pause_is_no_pattern() -> None:
    demand = Demand()
    for step in range(50):
        demand.arrived(0.01 * step, 0.4, 50)
    demand.arrived(1000.0, 0.4, 50)
    assert demand.peakedness == MOST_PEAKEDNESS


def test_nothing_is_expected_of_a_stream_that_has_not_come() -> None:
    demand = Demand()
    assert demand.per_second(5.0) == 0.0
    assert demand.peakedness == 1.0
    assert demand.hold_seconds(5.0, 0.01) == 0.0


def held(hold: float, per_second: float, seconds: float, seed: int) -> tuple[Demand, list[float]]:
    """A stream each of which holds its seat for exponential times; and the holds of those that have ended."""
    random, demand, now = Random(seed), Demand(), 0.0
    ends: list[tuple[float, float]] = []
    ended: list[float] = []
    while now < seconds:
        now += random.expovariate(per_second)
        while ends and ends[0][0] <= now:
            at, took = heappop(ends)
            demand.gave(at)
            ended.append(took)
        demand.took(now)
        taken = random.expovariate(1.0 / hold)
        heappush(ends, (now + taken, taken))
    return demand, ended


def test_those_that_still_hold_their_seat_count_so_a_new_stream_is_not_taken_for_a_short_one() -> None:
    estimates, naive = [], []
    for seed in range(20):
        demand, ended = held(20.0, 1.0, 10.0, seed)
        estimates.append(demand.hold_seconds(10.0, 0.0))
        naive.append(sum(ended) / len(ended) if ended else 0.0)
    # Of answers that take 20 s only those under 10 s can have ended.
    assert sum(naive) / 20 < 6.0
    assert sum(estimates) / 20 == pytest.approx(20.0, rel=0.35)


def test_the_hold_is_the_mean_of_what_was_held() -> None:
    estimates = [held(2.0, 5.0, 120.0, seed)[0].hold_seconds(120.0, 0.0) for seed in range(10)]
    assert sum(estimates) / 10 == pytest.approx(2.0, rel=0.1)


def test_old_holds_are_forgotten() -> None:
    demand, now = Demand(), 0.0
    for seconds in [60.0] * 20 + [1.0] * 200:
        demand.took(now)
        now += seconds
        demand.gave(now)
    assert demand.hold_seconds(now, 0.0) == pytest.approx(1.0, abs=0.2)


def test_a_hold_is_at_least_the_time_of_an_answer_of_mean_length() -> None:
    demand = Demand()
    for tokens in (100, 300):
        demand.answered(tokens)
    assert demand.hold_seconds(0.0, 0.02) == pytest.approx(4.0)


def test_a_hold_is_known_once_enough_have_ended_lately() -> None:
    demand, now = Demand(), 0.0
    for count in range(10):
        assert demand.is_known == (count >= 8), count
        demand.took(now)
        now += 0.05
        demand.gave(now)
    demand.took(now + 120.0)
    assert not demand.is_known


def test_at_present_a_burst_is_over_when_nothing_has_come_for_some_of_its_gaps() -> None:
    demand = Demand()
    for step in range(100):
        demand.arrived(0.1 * step, 0.4, 50)
    last = 9.9
    assert demand.per_second(last + 0.1) > demand.present_per_second(last + 0.1) == pytest.approx(10.0, rel=0.01)
    # The decayed rate has hardly fallen after two seconds; at most 1.5 a second come now.
    assert demand.present_per_second(last + 2.0) == pytest.approx(1.5)
    assert demand.per_second(last + 2.0) > 8.0
    assert Demand().present_per_second(5.0) == 0.0
