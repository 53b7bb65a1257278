"""Seats kept for more urgent work follow its demand, by what each seat is worth and for how long it would be taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import exp
from random import Random

import pytest
from fixtures.control_plane import Pool, engine, request
from fixtures.seat_counts import assert_seats_balance, seats_left_over

from sage_control_plane.policies.bands import Band
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.reservation import Reservation
from sage_control_plane.pool.reservation_settings import ReservationSettings
from sage_control_plane.pool.seat_group import FRESH_SECONDS
from sage_control_plane.request.engine_state import EngineState
from sage_control_plane.request.request import Attempt, PendingRequest, ServiceClass

PATIENCE_SECONDS = 0.45
CHAT, GENERATE, BULK = ServiceClass.INTERACTIVE, ServiceClass.DEFAULT, ServiceClass.BULK
_BAND = {CHAT: Band.INTERACTIVE, GENERATE: Band.DEFAULT, BULK: Band.BULK}


class Seats:
    """The reservation of some engines, with the clock and the requests that the test makes."""

    def __init__(self, *engines: EngineState) -> None:
        self.entries = Pool(*engines).manager.engines
        self.reservation = Reservation(self.entries, ReservationSettings(late_per_bulk_request=0.05).prices)
        self.now = 0.0
        self._numbers: Iterator[int] = iter(range(1_000_000))

    def request(self, service_class: ServiceClass, model: str = "m", arrived_at: float | None = None) -> PendingRequest:
        at = self.now if arrived_at is None else arrived_at
        return request(f"r{next(self._numbers)}", at, model=model, service_class=service_class)

    def resumable(self, timeout: float = 1e6) -> PendingRequest:
        """A bulk request whose answer can go on when it was stopped."""
        made = request(f"r{next(self._numbers)}", self.now, service_class=BULK, timeout=timeout)
        return replace(made, classification=replace(made.classification, resumable=True))

    def take(self, made: PendingRequest, hold_seconds: float | None = None, engine_id: str = "e") -> DispatchedAttempt:
        attempt = DispatchedAttempt(made.request_id, engine_id, Attempt(1, 1), 1, 1, self.now, made)
        entry = self.entries[engine_id]
        entry.running[made.request_id] = attempt
        self.reservation.take(entry, attempt, hold_seconds, self.now)
        return attempt

    def give(self, attempt: DispatchedAttempt) -> None:
        entry = self.entries[attempt.engine_id]
        del entry.running[attempt.request_id]
        self.reservation.give(entry, attempt, self.now)

    def play(
        self,
        service_class: ServiceClass,
        per_second: float,
        hold: float,
        seconds: float,
        *,
        model: str = "m",
        engine_id: str = "e",
        tpot_ms: int = 0,
        seed: int = 1,
    ) -> None:
        """Let requests come for a while, each of which has its seat at once; at the end all have given it back."""
        random, until, at = Random(seed), self.now + seconds, self.now
        ends: list[tuple[float, DispatchedAttempt]] = []
        while (at := at + random.expovariate(per_second)) < until:
            self._end(ends, at)
            self.now = at
            made = self.request(service_class, model)
            self.reservation.arrived(made, _BAND[service_class], PATIENCE_SECONDS, self.now)
            if tpot_ms:
                stream = self.reservation._stream(made.classification.route, _BAND[service_class])
                stream.tpot_ms = tpot_ms
            ends.append((at + hold, self.take(made, engine_id=engine_id)))
        self._end(ends, until)
        self.now = until
        for _, attempt in ends:
            self.give(attempt)

    def _end(self, ends: list[tuple[float, DispatchedAttempt]], now: float) -> None:
        while ends and ends[0][0] <= now:
            self.now, attempt = ends.pop(0)
            self.give(attempt)

    def kept(self, band: Band, *, late: bool = False, model: str = "m") -> float:
        """Seats that a request of the band must leave."""
        route = self.request(CHAT, model).classification.route
        group = self.reservation._route_group(route)
        assert group is not None
        self.now += FRESH_SECONDS
        return group.reserved(2 * band + late, self.now, self.reservation._prices, self.reservation.absorbs)

    def has_room(self, band: Band, *, late: bool = False, model: str = "m") -> bool:
        route = self.request(CHAT, model).classification.route
        return self.reservation.has_room(route, band, self.now, late=late)


def test_seats_are_kept_within_seconds_of_a_rise_in_demand_and_given_back_when_it_fades() -> None:
    seats = Seats(engine("e", concurrency=48))
    assert seats.kept(Band.BULK) == 0
    seats.play(CHAT, 1.0, 2.0, seconds=60.0)
    calm = seats.kept(Band.BULK)
    assert 3 <= calm <= 10  # 2 erlangs
    seats.play(CHAT, 10.0, 2.0, seconds=5.0)
    busy = seats.kept(Band.BULK)
    assert busy >= 2 * calm
    assert busy < 48
    faded = []
    for _ in range(3):
        seats.now += 20.0
        faded.append(seats.kept(Band.BULK))
    assert busy > faded[0] > faded[1] >= faded[2]
    assert faded[1] < calm
    seats.now += 60.0
    assert seats.kept(Band.BULK) == 0


def test_a_reservation_holds_for_a_moment_and_is_then_computed_anew() -> None:
    seats = Seats(engine("e", concurrency=48))
    before = seats.kept(Band.BULK)
    for _ in range(50):
        seats.reservation.arrived(seats.request(CHAT), Band.INTERACTIVE, PATIENCE_SECONDS, seats.now)
        seats.take(seats.request(CHAT))
    assert seats.has_room(Band.BULK)
    seats.now += 1.0
    assert seats.kept(Band.BULK) > before


def test_less_is_kept_from_work_that_gives_its_seat_back_soon() -> None:
    kept = {}
    for hold in (0.3, 20.0):
        seats = Seats(engine("e", concurrency=16))
        seats.play(CHAT, 2.0, 2.0, seconds=40.0)
        seats.play(GENERATE, 0.5, hold, seconds=40.0, seed=2)
        seats.play(CHAT, 2.0, 2.0, seconds=40.0, seed=3)
        # As many as leave just what is kept from the long ones.
        kept[hold] = seats.kept(Band.DEFAULT)
    assert kept[0.3] < kept[20.0]
    assert kept[20.0] >= 4


@pytest.mark.parametrize("every", [0.0, 0.05])
def test_the_first_batch_does_not_take_what_is_kept_although_nothing_is_known_of_it(every: float) -> None:
    seats = Seats(engine("e", concurrency=16))
    seats.play(CHAT, 2.0, 2.0, seconds=40.0)
    seats.kept(Band.BULK)
    taken = 0
    while seats.has_room(Band.BULK):
        made = seats.request(BULK)
        seats.reservation.arrived(made, Band.BULK, 3600.0, seats.now)
        seats.take(made)
        taken += 1
        seats.now += every
    # The chats hold 4 seats on average.
    assert 4 <= taken <= 12


def test_long_answers_wait_where_short_ones_pass() -> None:
    def passes(held_for: float) -> int:
        """Seats that bulk answers of this length get beside the same chats."""
        seats = Seats(engine("e", concurrency=16))
        seats.play(CHAT, 2.0, 2.0, seconds=40.0)
        seats.kept(Band.BULK)
        taken = 0
        while seats.has_room(Band.BULK) and taken < 100:
            seats.take(seats.request(BULK), hold_seconds=held_for)
            taken += 1
        return taken

    # One that is given back within the patience of a chat hardly counts.
    assert passes(0.2) > 2 * passes(20.0) > 0
    seats = Seats(engine("e", concurrency=16))
    seats.play(CHAT, 2.0, 2.0, seconds=40.0)
    seats.kept(Band.BULK)
    assert seats.take(seats.request(BULK), hold_seconds=2.0).seat == pytest.approx(
        exp(-PATIENCE_SECONDS / 2.0), abs=0.01
    )
    assert seats.take(seats.request(BULK)).seat == 1.0


def test_engines_that_share_no_model_share_no_reservation() -> None:
    seats = Seats(engine("e", "m", concurrency=8), engine("f", "n", concurrency=8))
    seats.play(CHAT, 4.0, 2.0, seconds=40.0)
    assert seats.kept(Band.BULK) >= 6
    assert seats.kept(Band.BULK, model="n") == 0
    for _ in range(8):
        seats.take(seats.request(BULK, "n"), engine_id="f")
    seats.take(seats.request(GENERATE, "n"), engine_id="f")
    route = seats.request(CHAT, "m").classification.route
    assert not seats.reservation.holds_seat(route, Band.BULK)
    assert seats.reservation.seats(route) == 8


def test_an_engine_with_the_models_of_two_groups_joins_them_and_every_seat_still_counts() -> None:
    seats = Seats(engine("e", "m", concurrency=8), engine("f", "n", concurrency=8))
    held = [seats.take(seats.request(BULK, model), engine_id=name) for model, name in (("m", "e"), ("n", "f"))]
    both = Pool(engine("g", "m", "n", concurrency=4)).manager.engines["g"]
    seats.entries["g"] = both
    seats.reservation.regroup()
    group = seats.reservation.group(both)
    assert group.capacity == 20
    assert group.held[2 * Band.BULK] == 2.0
    assert seats.reservation.group(seats.entries["e"]) is seats.reservation.group(seats.entries["f"]) is group
    del seats.entries["g"]
    seats.reservation.regroup()
    assert [seats.reservation.group(seats.entries[name]).held[2 * Band.BULK] for name in "ef"] == [1.0, 1.0]
    for attempt in held:
        seats.give(attempt)
    assert [seats.reservation.group(seats.entries[name]).held[2 * Band.BULK] for name in "ef"] == [0.0, 0.0]


def test_urgent_work_goes_before_less_urgent_and_all_before_bulk() -> None:
    seats = Seats(engine("e", concurrency=16))
    seats.play(GENERATE, 1.0, 2.0, seconds=20.0)
    seats.play(CHAT, 3.0, 2.0, seconds=30.0)
    fresh, late = (seats.kept(Band.INTERACTIVE, late=late) for late in (False, True))
    generate, bulk = seats.kept(Band.DEFAULT), seats.kept(Band.BULK)
    # With so many seats one is free again before a fresh chat would be late.
    assert fresh == late == 0 < generate < bulk
    for band, service_class, left in ((Band.BULK, BULK, bulk), (Band.DEFAULT, GENERATE, generate)):
        taken = 0
        while seats.has_room(band):
            seats.take(seats.request(service_class))
            taken += 1
        # What bulk work holds is among what generation leaves.
        assert len(seats.entries["e"].running) == pytest.approx(16 - left, abs=1)
        assert taken > 0
    assert seats.has_room(Band.INTERACTIVE)


def test_late_requests_leave_room_for_the_fresh_of_their_band_where_they_would_make_more_of_them_late() -> None:
    def left(per_second: float, concurrency: int) -> float:
        seats = Seats(engine("e", concurrency=concurrency))
        seats.play(CHAT, per_second, 2.0, seconds=60.0, seed=2)
        for _ in range(concurrency):
            seats.take(seats.request(CHAT))
        return seats.kept(Band.INTERACTIVE, late=True)

    # Most seats are idle on average: the next fresh one finds another.
    assert left(0.2, 2) == 0
    # Most are in use. Of four the next end comes too late for it, of sixteen soon enough.
    assert left(1.9, 4) > 0
    assert left(7.0, 16) == 0
    # More come than there are seats for: each late one costs a fresh one its target.
    assert left(20.0, 16) > 0


def test_what_runs_late_is_counted_as_such() -> None:
    seats = Seats(engine("e", concurrency=16))
    seats.now = 10.0
    seats.take(seats.request(CHAT, arrived_at=9.9))
    seats.take(seats.request(CHAT, arrived_at=9.0))
    group = seats.reservation.group(seats.entries["e"])
    assert group.held[2 * Band.INTERACTIVE : 2 * Band.INTERACTIVE + 2] == [1.0, 1.0]


def test_what_interruptions_can_free_is_not_kept_from_bulk_work_and_still_from_others() -> None:
    seats = Seats(engine("e", concurrency=16))
    seats.play(CHAT, 2.0, 2.0, seconds=40.0)
    seats.play(GENERATE, 0.5, 10.0, seconds=20.0)
    seats.play(CHAT, 2.0, 2.0, seconds=20.0, seed=2)
    bulk, generate = seats.kept(Band.BULK), seats.kept(Band.DEFAULT)
    seats.reservation.absorbs = lambda now, hold_seconds: 100.0
    assert seats.kept(Band.BULK) == 0 < bulk
    assert seats.kept(Band.DEFAULT) == pytest.approx(generate, abs=1)


def test_seats_that_bulk_work_gives_back_are_as_good_as_free_for_more_urgent_work() -> None:
    seats = Seats(engine("e", concurrency=8))
    seats.play(CHAT, 1.0, 2.0, seconds=40.0)
    seats.reservation.absorbs = lambda now, hold_seconds: 100.0
    for _ in range(8):
        assert seats.has_room(Band.BULK)
        seats.take(seats.resumable())
    assert seats.has_room(Band.DEFAULT)
    seats.now += FRESH_SECONDS
    seats.reservation.absorbs = lambda now, hold_seconds: 0.0
    assert not seats.has_room(Band.DEFAULT)


def test_what_could_not_go_on_is_lent_no_seat() -> None:
    seats = Seats(engine("e", concurrency=8))
    seats.play(CHAT, 1.0, 2.0, seconds=40.0)
    seats.reservation.absorbs = lambda now, hold_seconds: 100.0
    assert seats.kept(Band.BULK) == 0
    # Its time-out comes before another seat may.
    seats.take(seats.resumable(timeout=20.0))
    assert seats.kept(Band.BULK) > 0


def test_until_the_pace_is_known_bulk_work_only_shows_it() -> None:
    seats = Seats(*(engine(name, concurrency=16) for name in ("e", "f")))
    seats.play(CHAT, 0.05, 0.1, seconds=60.0, tpot_ms=50)
    seats.kept(Band.BULK)
    taken = 0
    while seats.has_room(Band.BULK):
        seats.take(seats.request(BULK))
        taken += 1
    assert taken == 2  # one on each engine
    for entry in seats.entries.values():
        entry.pace_known = True
    assert seats.kept(Band.BULK) < 16
    assert seats.has_room(Band.BULK)


def test_work_for_models_that_nobody_serves_is_not_held_up() -> None:
    seats = Seats(engine("e", concurrency=1))
    route = seats.request(BULK, "unknown").classification.route
    assert seats.reservation.has_room(route, Band.BULK, 0.0, late=False)
    assert not seats.reservation.holds_seat(route, Band.BULK)
    assert seats.reservation.seats(route) == 0


def test_the_turnover_is_what_all_seats_would_begin_once_it_is_known_how_long_they_are_held() -> None:
    seats = Seats(engine("e", concurrency=16), engine("f", concurrency=16))
    assert seats.reservation.turnover(seats.request(CHAT), seats.now) == 0.0
    seats.play(CHAT, 4.0, 2.0, seconds=60.0)
    assert seats.reservation.turnover(seats.request(CHAT), seats.now) == pytest.approx(16.0, rel=0.1)
    # Of completions nothing is known, whatever the chats do.
    assert seats.reservation.turnover(seats.request(GENERATE), seats.now) == 0.0
    assert seats.reservation.turnover(seats.request(CHAT, "unknown"), seats.now) == 0.0


def test_a_seat_that_counts_for_nothing_is_given_back_too() -> None:
    """A hold far shorter than the patience: the share of its seat that matters is 0 to the last bit."""
    seats = Seats(engine("e", concurrency=16))
    seats.play(CHAT, 2.0, 2.0, seconds=20.0)
    seats.kept(Band.BULK)
    group = seats.reservation.group(seats.entries["e"])
    group.patience_seconds = 5.0
    attempt = seats.take(seats.request(BULK), hold_seconds=0.001)
    assert attempt.seat == 0.0
    stream = seats.reservation._stream(seats.request(BULK).classification.route, Band.BULK)
    assert stream.running == 1
    seats.give(attempt)
    assert stream.running == 0


def test_the_requests_of_an_engine_that_is_lost_hold_no_seat_any_more() -> None:
    pool = Pool(engine("e", concurrency=4), engine("f", concurrency=4), policy="hybrid")
    pool.submit(*(request(str(number), pool.now) for number in range(8)))
    assert len(pool.running) == 8
    pool.manager.engine_lost("e", "killed", pool.now)
    assert_seats_balance(pool.manager)
    pool.decide()
    for request_id in [name for name, dispatch in pool.running.items() if dispatch.engine_id == "f"]:
        pool.finish(request_id)
    while running := [name for name, dispatch in pool.running.items() if dispatch.engine_id == "f"]:
        pool.finish(running[0])
    assert seats_left_over(pool.manager) == []
