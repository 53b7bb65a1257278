"""Timers of several kinds on one order of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.tracking.timers import Timers

moments = st.integers(0, 20)


@given(st.lists(st.tuples(st.sampled_from(["expiry", "hedge", "ejection"]), st.integers(0, 5), moments)), moments)
def test_what_is_due_fires_in_order_of_time_and_of_arming_and_nothing_more(
    armed: list[tuple[str, int, int]], now: int
) -> None:
    timers = Timers()
    fired: list[tuple[str, str]] = []
    expected: dict[tuple[str, str], tuple[int, int]] = {}
    for name in ("expiry", "hedge", "ejection"):
        getattr(timers, name).on_due = lambda subject, at, name=name: fired.append((name, subject))
    for place, (name, subject, at) in enumerate(armed):
        getattr(timers, name).arm(str(subject), at)
        expected[name, str(subject)] = (at, place)
    assert timers.first_at() == min((at for at, _ in expected.values()), default=None)
    timers.fire_due(now)
    due = [(key, at) for key, at in expected.items() if at[0] <= now]
    assert fired == [key for key, _ in sorted(due, key=lambda item: item[1])]
    assert timers.first_at() == min((at for at, _ in expected.values() if at > now), default=None)


def test_the_same_subject_is_due_apart_for_each_kind() -> None:
    timers = Timers()
    fired: list[str] = []
    timers.expiry.on_due = lambda subject, now: fired.append("expiry")
    timers.backoff.on_due = lambda subject, now: fired.append("backoff")
    timers.expiry.arm("r", 1.0)
    timers.backoff.arm("r", 2.0)
    timers.expiry.disarm("r")
    timers.fire_due(3.0)
    assert fired == ["backoff"]


def test_what_fires_may_arm_more_that_is_due_already() -> None:
    timers = Timers()
    fired: list[str] = []
    timers.hedge.on_due = lambda subject, now: fired.append(subject)
    timers.expiry.on_due = lambda subject, now: timers.hedge.arm_once(subject, now)
    timers.expiry.arm("r", 1.0)
    timers.fire_due(1.0)
    assert fired == ["r"]
    assert timers.first_at() is None
