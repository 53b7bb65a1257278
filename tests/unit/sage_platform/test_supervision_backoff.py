from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sage_platform.supervision.backoff import Backoff
from sage_platform.supervision.process_spec import RestartPolicy


def test_delays_double_up_to_the_longest() -> None:
    policy = RestartPolicy(initial_seconds=0.5, max_seconds=3.0, jitter=0.0)
    backoff = Backoff(policy, random.Random(1))
    assert [backoff.next_delay_seconds(0.0) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_stable_time_resets_the_delay_and_a_short_one_does_not() -> None:
    backoff = Backoff(RestartPolicy(initial_seconds=1.0, jitter=0.0, stable_seconds=10.0), random.Random(1))
    assert [backoff.next_delay_seconds(ready) for ready in (0.0, 9.9, 10.0, 0.0)] == [1.0, 2.0, 1.0, 2.0]


@given(st.integers(0, 5000), st.floats(0, 1), st.integers(0))
def test_every_delay_is_between_its_unjittered_share_and_the_longest(failures: int, jitter: float, seed: int) -> None:
    policy = RestartPolicy(initial_seconds=0.2, max_seconds=30.0, jitter=jitter)
    backoff = Backoff(policy, random.Random(seed))
    for _ in range(min(failures, 50)):
        backoff.next_delay_seconds(0.0)
    delay = backoff.next_delay_seconds(0.0)
    whole = min(30.0, 0.2 * 2.0 ** min(failures, 50))
    assert whole * (1 - jitter) - 1e-9 <= delay <= whole


def test_hundreds_of_failures_do_not_overflow() -> None:
    backoff = Backoff(RestartPolicy(jitter=0.0), random.Random(1))
    assert [backoff.next_delay_seconds(0.0) for _ in range(2000)][-1] == RestartPolicy().max_seconds
