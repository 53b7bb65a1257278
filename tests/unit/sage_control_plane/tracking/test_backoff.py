"""Back-off doubles, is jittered, and is bounded."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.tracking.backoff import Backoff


@given(st.integers(1, 30), st.integers())
def test_each_wait_is_between_half_and_the_whole_of_its_step(tries: int, seed: int) -> None:
    step = min(2.0, 0.05 * 2 ** (tries - 1))
    assert step / 2 <= Backoff(0.05, 2.0).seconds(tries, Random(seed)) <= step


def test_the_same_seed_gives_the_same_waits() -> None:
    assert Backoff().seconds(2, Random(3)) == Backoff().seconds(2, Random(3))
