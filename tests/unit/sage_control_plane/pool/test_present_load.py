"""What is offered at this moment: more than the seats can do is an overload, a failure is not."""

from __future__ import annotations

import pytest

from sage_control_plane.pool.present_load import LOST_SECONDS, PresentLoad
from sage_control_plane.prediction.demand import Demand

HOLD_SECONDS = 2.0
SEATS = 20


def stream(per_second: float, seconds: float = 20.0) -> Demand:
    """A stream of requests, evenly spaced, that end with the time given and hold a seat for two seconds each."""
    made = Demand()
    ends: list[float] = []
    for number in range(int(per_second * seconds)):
        now = number / per_second
        while ends and ends[0] <= now:
            made.gave(ends.pop(0))
        made.arrived(now, 0.5, 50, now)
        made.took(now)
        ends.append(now + HOLD_SECONDS)
    return made


def load(demands: list[list[Demand]], now: float, seats: int = SEATS) -> list[tuple[float, float]]:
    present = PresentLoad()
    present.note_seats(seats, now)
    return list(present.up_to(demands, 0.0, now))


def test_it_is_the_rate_of_the_moment_times_the_time_that_seats_are_held() -> None:
    ((sure, expected),) = load([[stream(5.0)]], 20.0)
    assert expected == pytest.approx(0.5, rel=0.25)
    assert 0.0 < sure <= expected


@pytest.mark.parametrize(("lasts", "shows"), [(0.1, False), (0.6, True)])
def test_five_times_the_requests_show_once_it_is_no_burst(lasts: float, shows: bool) -> None:
    calm = stream(8.0)
    ((before, _),) = load([[calm]], 20.0)
    for number in range(30):
        at = 20.0 + lasts * number / 30
        calm.arrived(at, 0.5, 50, at)
    ((sure, expected),) = load([[calm]], 20.0 + lasts)
    assert before < 1.0
    assert (sure >= 1.0 and expected > 2.0) is shows


def test_who_was_held_up_on_his_way_counts_when_he_was_sent() -> None:
    calm = stream(8.0)
    for number in range(25):
        calm.arrived(23.1, 0.5, 50, 20.0 + number / 8)
    ((sure, expected),) = load([[calm]], 23.1)
    assert sure < 1.0
    # Nobody has given back a seat for three seconds.
    assert expected < 1.1


def test_who_was_admitted_before_is_not_counted_again() -> None:
    calm = stream(8.0)
    ((_, before),) = load([[calm]], 20.0)
    for _ in range(100):
        calm.arrived(20.0, 0.5, 50, None)
    ((_, after),) = load([[calm]], 20.0)
    assert after == before


def test_a_moment_of_few_says_little_and_seconds_of_them_say_enough() -> None:
    few = stream(4.0, seconds=30.0)
    # Four a second, each of which holds the one seat for two seconds.
    assert few.last_per_second(29.8)[0] == 0.0
    ((sure, _),) = load([[few]], 29.8, seats=1)
    assert sure >= 1.0
    ((later, _),) = load([[few]], 32.0, seats=1)
    assert later < 1.0


def test_the_load_of_the_bands_before_is_in_that_of_a_band() -> None:
    one, other = load([[stream(5.0)], [stream(5.0)]], 20.0)
    assert other[1] == pytest.approx(2 * one[1], rel=0.01)
    assert other[0] > one[0]


def test_seats_that_were_there_until_lately_may_come_back() -> None:
    demands = [[stream(8.0)]]
    present = PresentLoad()
    present.note_seats(SEATS, 19.0)
    present.note_seats(SEATS // 4, 19.5)
    ((_, expected),) = present.up_to(demands, 0.0, 20.0)
    assert expected < 1.0
    present.note_seats(SEATS // 4, 19.1 + LOST_SECONDS)
    ((_, expected),) = present.up_to([[stream(8.0, seconds=30.0)]], 0.0, 30.0)
    assert expected > 2.0


def test_seats_are_remembered_where_the_engines_are_grouped_anew() -> None:
    before, after = PresentLoad(), PresentLoad()
    before.note_seats(SEATS, 19.0)
    after.take_over(before)
    after.note_seats(SEATS // 4, 19.5)
    ((_, expected),) = after.up_to([[stream(8.0)]], 0.0, 20.0)
    assert expected < 1.0


def test_of_a_stream_whose_holding_time_is_not_known_nothing_is_sure() -> None:
    assert load([[stream(3.0, seconds=2.5)]], 2.5) == [(0.0, 0.0)]
