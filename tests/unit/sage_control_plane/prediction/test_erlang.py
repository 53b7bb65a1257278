"""Seats against losses: the closed form agrees with a played queue, and asks for more where more is at stake."""

from __future__ import annotations

from heapq import heapreplace
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.prediction.erlang import losses, seats_worth_keeping

LOADS = st.floats(0.01, 300.0)
PATIENCES = st.floats(0.0, 20.0)


def played_losses(load: float, patience: float, seats: int, arrivals: int, seed: int) -> float:
    """Play M/M/n, first come first served: who would not get a seat within the patience leaves without one."""
    random, now, lost = Random(seed), 0.0, 0
    free_at = [0.0] * seats
    for _ in range(arrivals):
        now += random.expovariate(load)
        if free_at[0] > now + patience:
            lost += 1
        else:
            heapreplace(free_at, max(now, free_at[0]) + random.expovariate(1.0))
    return lost / arrivals


def loss(load: float, patience: float, seats: int) -> float:
    return next(islice(losses(load, patience), seats, None))


@pytest.mark.parametrize(
    ("load", "patience", "seats"),
    [(0.8, 0.5, 1), (3.0, 0.2, 4), (3.0, 2.0, 4), (12.0, 0.1, 10), (6.0, 1.0, 4)],
)
def test_the_share_that_is_late_is_that_of_a_played_queue(load: float, patience: float, seats: int) -> None:
    assert loss(load, patience, seats) == pytest.approx(played_losses(load, patience, seats, 120_000, seed=1), abs=0.01)


def test_without_patience_it_is_erlangs_loss_formula() -> None:
    term = total = 1.0
    for seats in range(1, 30):
        term *= 12.0 / seats
        total += term
        assert loss(12.0, 0.0, seats) == pytest.approx(term / total)


@given(LOADS, PATIENCES)
def test_each_further_seat_spares_less_than_the_one_before(load: float, patience: float) -> None:
    shares = list(islice(losses(load, patience), 400))
    assert shares[0] == 1.0
    assert all(0.0 <= after <= before for before, after in pairwise(shares))
    spared = [before - after for before, after in pairwise(shares)]
    # A patient overload loses exactly what exceeds the seats, so there each spares the same.
    assert all(after <= before + 1e-9 for before, after in pairwise(spared))


def test_the_limits_are_those_of_a_fluid() -> None:
    assert loss(1e-9, 1.0, 1) == pytest.approx(0.0, abs=1e-8)
    # Patience without end: nobody is lost below the seats, and above them all that exceeds them.
    assert loss(8.0, 400.0, 10) == pytest.approx(0.0, abs=1e-9)
    assert loss(20.0, 400.0, 10) == pytest.approx(0.5, abs=1e-3)
    # As many as can be computed: exponents of such a patience would overflow.
    assert loss(300.0, 1e6, 10) == pytest.approx(1.0 - 10 / 300, abs=1e-3)


def kept(
    load: float = 5.0, patience: float = 0.5, peakedness: float = 1.0, price: float = 0.05, absorbed: float = 0.0
) -> int:
    return seats_worth_keeping(load, 2.0, patience, 48, peakedness, price, absorbed)


@pytest.mark.parametrize("absorbed", [0.0, 0.2])
def test_more_is_kept_for_more_load_more_bursts_less_patience_and_a_lower_price(absorbed: float) -> None:
    by_load = [kept(load=0.25 * step, absorbed=absorbed) for step in range(1, 240)]
    assert by_load == sorted(by_load)
    assert by_load[0] < by_load[19] < by_load[-1] == 48
    for worse in ("patience", "price"):
        falling = [kept(absorbed=absorbed, **{worse: 0.01 * 1.2**step}) for step in range(40)]
        assert falling == sorted(falling, reverse=True), worse
        assert falling[0] > falling[-1], worse
    bursty = [kept(peakedness=peak, absorbed=absorbed) for peak in (1.0, 2.0, 4.0, 8.0)]
    assert bursty == sorted(bursty)
    assert bursty[0] < bursty[-1]


def test_what_interruptions_absorb_need_not_be_kept() -> None:
    # 2.5 requests a second come; with 2.5 absorbed none needs a seat that is kept.
    fewer = [kept(absorbed=absorbed) for absorbed in (0.0, 0.05, 0.25, 1.0, 2.5)]
    assert fewer == sorted(fewer, reverse=True)
    assert fewer[0] > fewer[2] > fewer[-1] == 0


@given(
    LOADS | st.just(0.0),
    st.floats(0.01, 100.0),
    st.floats(0.0, 60.0),
    st.integers(0, 2000),
    st.floats(1.0, 8.0),
    st.floats(1e-6, 1e3),
    st.floats(0.0, 10.0),
)
def test_no_more_is_kept_than_there_is(
    load: float, hold: float, patience: float, most: int, peakedness: float, price: float, absorbed: float
) -> None:
    seats = seats_worth_keeping(load, hold, patience, most, peakedness, price, absorbed)
    assert 0 <= seats <= most
    if not load:
        assert seats == 0
