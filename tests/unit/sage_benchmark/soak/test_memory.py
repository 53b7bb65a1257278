"""Growth of memory over lives that end and begin again."""

from __future__ import annotations

import os

import pytest

from sage_benchmark.soak.memory import Life, MemoryWatch, growth_of, slope
from sage_platform.supervision.process_status import ProcessIdentity

HALF = (900.0, 1800.0)


def life(born: float, until: float, mb: float, per_minute: float) -> Life:
    times = [born + 5.0 * n for n in range(int((until - born) / 5.0) + 1)]
    return Life(born, [(at, mb + per_minute * (at - born) / 60) for at in times])


def test_a_leak_shows_through_restarts() -> None:
    lives = [life(0, 1000, 100, 2.0), life(1001, 1400, 100, 2.0), life(1401, 1800, 100, 2.0)]
    growth = growth_of("gateway", lives, HALF, 60.0)
    assert growth.mb_per_minute == pytest.approx(2.0)
    assert growth.growth_mb == pytest.approx(30.0)
    assert (growth.lives, growth.is_flat) == (3, False)


def test_what_grows_in_its_warm_up_only_is_flat() -> None:
    warming = life(600, 1800, 100, 0.0)
    warming.resident = [(at, mb - 40 if at < 655 else mb) for at, mb in warming.resident]
    growth = growth_of("gateway", [warming], (600.0, 1800.0), 60.0)
    assert (growth.mb_per_minute, growth.is_flat) == (0.0, True)


def test_a_large_process_may_grow_by_a_tenth() -> None:
    lives = [life(0, 1800, 400, 2.5)]
    assert growth_of("nats", lives, HALF, 60.0).is_flat
    assert not growth_of("nats", [life(0, 1800, 200, 2.5)], HALF, 60.0).is_flat


def test_lives_that_are_too_short_say_nothing() -> None:
    lives = [life(100.0 * n, 100.0 * n + 99, 100, 50.0) for n in range(18)]
    growth = growth_of("gateway", lives, HALF, 60.0)
    assert (growth.mb_per_minute, growth.growth_mb, growth.followed_seconds, growth.is_flat) == (None, None, 0.0, True)


def test_no_points_have_no_slope() -> None:
    assert slope([]) is None
    assert slope([[(1.0, 2.0)]]) is None


def test_a_process_is_one_life_however_often_it_is_read_and_one_that_ended_is_not_read() -> None:
    watch = MemoryWatch()
    own = ProcessIdentity.of(os.getpid())
    ended = ProcessIdentity(own.pid, own.created_unix_seconds - 1000)
    for at in (1.0, 2.0):
        watch.note(at, [("own", own), ("own", ended)])
    (only,) = watch.lives["own"].values()
    assert [at for at, _ in only.resident] == [1.0, 2.0]
    assert only.resident[0][1] > 1
