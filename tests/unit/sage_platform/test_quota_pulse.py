"""Signs of life of those that hold parts of limits, on a real nats-server and by clocks that the test moves."""

from __future__ import annotations

import os
import time

from fixtures.eventually import eventually
from fixtures.manual_clock import ManualClock

from sage_platform.quota_pulse import HOLD_SECONDS, LAPSE_SECONDS, QuotaPulse
from sage_platform.ring import Ring


async def test_a_holder_stops_spending_before_any_other_takes_it_for_dead(ring: Ring) -> None:
    js = ring.connection.jetstream()
    holder, other = f"holder-{os.urandom(3).hex()}", f"other-{os.urandom(3).hex()}"
    here, there = ManualClock(100.0), ManualClock(9_000.0)
    mine, theirs = QuotaPulse(js, holder, here), QuotaPulse(js, other, there)
    await mine.start()
    await theirs.start()
    try:
        assert mine.may_spend
        assert not theirs.seems_dead(holder)
        here.at += HOLD_SECONDS
        assert not mine.may_spend
        there.at += LAPSE_SECONDS - 1
        # It beats each second by real time, which counts as life however the clocks stand.
        await eventually(lambda: mine.may_spend, seconds=5)
        there.at += LAPSE_SECONDS - 1
        await eventually(lambda: not theirs.seems_dead(holder), seconds=5)
    finally:
        await mine.stop()
        await theirs.stop()


async def test_a_holder_that_is_gone_is_dead_after_a_while_and_not_at_once(ring: Ring) -> None:
    js = ring.connection.jetstream()
    clock = ManualClock(100.0)
    pulse = QuotaPulse(js, f"survivor-{os.urandom(3).hex()}", clock)
    await pulse.start()
    try:
        # Nobody has ever heard of it: it may have begun to hold something a moment ago.
        assert not pulse.seems_dead("gone")
        clock.at += LAPSE_SECONDS + 1
        assert pulse.seems_dead("gone")
        assert await pulse.is_dead("gone")
        # After a break nobody can say who was alive meanwhile.
        pulse.reconnected()
        assert not await pulse.is_dead("gone")
    finally:
        await pulse.stop()


async def test_the_time_is_the_servers_whatever_the_own_clock_shows(ring: Ring) -> None:
    pulse = QuotaPulse(ring.connection.jetstream(), f"timed-{os.urandom(3).hex()}", ManualClock(-5.0))
    await pulse.start()
    try:
        assert abs(pulse.server_now() - time.time()) < 30
    finally:
        await pulse.stop()
