"""How many requests an engine computes at once is found, from whichever signs it gives."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from sage_control_plane.pool.capacity import FIRST_LIMIT, LearnedCapacity

STEP_SECONDS = 0.02
REPORT_SECONDS = 0.5
SEATS = [1, 2, 4, 16, 48]
CEILING = 1024


class Engine:
    """An engine of so many seats that always has as many requests as the limit allows; the rest wait in its queue.

    Args:
        reports: whether it tells what runs and what waits.
        streams: whether its answers show when they begin.
    """

    def __init__(self, seats: int, *, reports: bool = False, streams: bool = False, most: int = CEILING) -> None:
        self.seats = seats
        self.capacity = LearnedCapacity(most)
        self.now = 0.0
        self.tokens = 0
        self.highest = self.capacity.limit
        self._reports = reports
        self._streams = streams
        self._random = Random(1)
        self._waiting: deque[float] = deque()
        # Tokens so far and in all of each, when it was dispatched, and when it began.
        self._running: list[tuple[int, int, float, float]] = []
        self._report_at = REPORT_SECONDS

    @property
    def _outstanding(self) -> int:
        return len(self._waiting) + len(self._running)

    def run(self, seconds: float) -> Engine:
        until = self.now + seconds
        while self.now < until:
            self._step()
        return self

    def _step(self) -> None:
        capacity = self.capacity
        while self._outstanding < capacity.limit:
            self._waiting.append(self.now)
        while self._waiting and len(self._running) < self.seats:
            self._running.append((0, self._random.randint(10, 100), self._waiting.popleft(), self.now))
        self.now += STEP_SECONDS
        before, self._running = self._running, []
        for position, (tokens, length, since, began) in enumerate(before):
            self.tokens += 1
            if tokens == 0 and self._streams:
                begun = [one for one in before[position + 1 :] if one[0]] + self._running
                capacity.began(len(begun) + 1)
            if tokens + 1 < length:
                self._running.append((tokens + 1, length, since, began))
                continue
            rest = len(before) - position - 1
            outstanding = len(self._waiting) + len(self._running) + rest + 1
            decoded = self.now - began if self._streams else None
            capacity.ended(length, self.now - since, outstanding, self.now, decoded)
        if self._reports and self.now >= self._report_at:
            self._report_at += REPORT_SECONDS
            capacity.reported(len(self._running), len(self._waiting), self._outstanding)
        assert 1 <= capacity.shown <= capacity.limit <= capacity.most
        self.highest = max(self.highest, capacity.limit)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("seats", SEATS)
def test_an_engine_that_tells_of_its_queue_is_found_out_exactly(seats: int, streams: bool) -> None:
    engine = Engine(seats, reports=True, streams=streams).run(10.0)
    limits = [engine.run(0.5).capacity.limit for _ in range(200)]
    # A report between two steps sees those whose place nobody has taken yet.
    assert sum(0.85 * seats <= limit <= seats + 1 for limit in limits) >= 0.95 * len(limits)
    assert engine.highest <= max(6, 1.5 * seats)


@pytest.mark.parametrize("seats", SEATS)
def test_answers_that_begin_show_the_seats_of_an_engine_that_tells_nothing(seats: int) -> None:
    engine = Engine(seats, streams=True).run(60.0)
    limits = [engine.run(0.5).capacity.limit for _ in range(120)]
    assert all(seats <= limit <= max(seats + 1, 1.25 * seats) for limit in limits)
    assert seats <= engine.capacity.shown <= 1.25 * seats


@pytest.mark.parametrize("seats", SEATS)
def test_answers_in_one_piece_show_where_throughput_grows_no_more(seats: int) -> None:
    engine = Engine(seats).run(120.0)
    before = engine.tokens
    engine.run(60.0)
    assert (engine.tokens - before) / 60.0 >= 0.8 * seats / STEP_SECONDS
    assert engine.capacity.limit <= max(2 * FIRST_LIMIT, 2 * seats)
    assert engine.highest <= max(4 * FIRST_LIMIT, 4 * seats)


def test_chance_does_not_raise_the_limit_of_a_silent_engine_more_and_more() -> None:
    engine = Engine(8).run(200.0)
    found = engine.capacity.limit
    engine.run(3000.0)
    assert engine.capacity.limit <= 1.5 * found <= 24


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("reports", [False, True])
def test_the_limit_never_exceeds_its_ceiling(reports: bool, streams: bool) -> None:
    engine = Engine(48, reports=reports, streams=streams, most=10).run(60.0)
    assert engine.capacity.limit == engine.highest == 10
    engine.capacity.resize(3)
    assert engine.capacity.limit == 3
    assert LearnedCapacity(2).limit == 2


@pytest.mark.parametrize(("reports", "streams"), [(True, False), (False, True)])
def test_an_engine_that_gets_larger_is_found_out_too(reports: bool, streams: bool) -> None:
    engine = Engine(4, reports=reports, streams=streams).run(30.0)
    assert engine.capacity.limit <= 5
    engine.seats = 8
    engine.run(600.0)
    assert engine.capacity.limit >= 7


@pytest.mark.parametrize("decoded", [0.0005, None])
def test_short_answers_one_after_the_other_show_nothing_of_the_seats(decoded: float | None) -> None:
    engine = Engine(16, streams=True).run(60.0)
    capacity, found = engine.capacity, engine.capacity.limit
    assert found >= 16
    for _ in range(1000):
        engine.now += 0.002
        if decoded is not None:
            capacity.began(1)
        capacity.ended(16, 0.002, 1, engine.now, decoded)
    assert capacity.limit == found


def test_what_was_tried_in_vain_is_tried_more_and_more_rarely() -> None:
    engine = Engine(4, reports=True)
    tried = []
    for _ in range(4):
        engine.run(400.0)
        tries, limit = 0, engine.capacity.limit
        for _ in range(400):
            before, limit = limit, engine.run(0.5).capacity.limit
            tries += limit > max(before, 4)
        tried.append(tries)
    assert tried[0] >= 1
    assert tried[-1] <= tried[0]
    assert tried[-1] <= 2


def test_an_engine_that_is_another_one_is_learned_from_the_beginning() -> None:
    engine = Engine(16, reports=True).run(30.0)
    assert engine.capacity.limit >= 14
    engine.capacity.forget()
    assert (engine.capacity.limit, engine.capacity.shown) == (FIRST_LIMIT, 1)


def test_one_report_of_a_queue_is_none() -> None:
    capacity = LearnedCapacity(64)
    capacity.reported(running=2, waiting=2, outstanding=4)
    assert capacity.limit == FIRST_LIMIT
    capacity.reported(running=2, waiting=2, outstanding=4)
    assert capacity.limit == 2


def test_a_limit_that_is_not_in_use_teaches_nothing() -> None:
    capacity = LearnedCapacity(64)
    for step in range(1, 200):
        capacity.reported(running=2, waiting=0, outstanding=2)
        capacity.ended(50, 1.0, 2, float(step))
    assert capacity.limit == FIRST_LIMIT


def in_waves(clients: int, prompt_seconds: float, answer_seconds: float, seconds: float) -> LearnedCapacity:
    """Closed-loop clients of an engine that takes whatever comes, and computes one prompt after the other."""
    capacity, now = LearnedCapacity(CEILING), 0.0
    # When each ends, when it was dispatched, when it began.
    running: list[tuple[float, float, float]] = []
    waiting = [0.0] * clients
    free_at = 0.0
    while now < seconds:
        while waiting and len(running) < capacity.limit:
            waiting.pop()
            free_at = max(free_at, now) + prompt_seconds
            running.append((free_at + answer_seconds, now, free_at))
        now = min(min(end for end, _, _ in running), min((b for _, _, b in running if b > now), default=now + 1e9))
        if any(began == now for _, _, began in running):
            capacity.began(sum(began <= now for _, _, began in running))
        for one in [one for one in running if one[0] <= now]:
            capacity.ended(80, now - one[1], len(running), now, now - one[2])
            running.remove(one)
            waiting.append(now)
    return capacity


def test_clients_that_come_in_waves_are_not_taken_for_seats() -> None:
    # The first of a wave end before the last have begun, so that all never run at once; they have hardly waited.
    capacity = in_waves(64, prompt_seconds=0.005, answer_seconds=0.29, seconds=60.0)
    assert capacity.limit >= 55


def test_what_was_found_too_low_is_left_behind_soon() -> None:
    engine = Engine(8, streams=True).run(60.0)
    assert engine.capacity.limit <= 10
    engine.seats = 200
    engine.run(120.0)
    assert engine.capacity.limit >= 150
