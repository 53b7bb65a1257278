"""Credits bound what is outstanding on an engine."""

from __future__ import annotations

import pytest
from fixtures.control_plane import engine

from sage_control_plane.pool.credits import Credits


def credits(concurrency: int, token_cap: int = 0, headroom: float = 0.0) -> Credits:
    return Credits(engine("e", concurrency=concurrency, token_cap=token_cap).spec, headroom)


def test_no_more_requests_fit_than_the_concurrency_allows() -> None:
    table = credits(2)
    table.take(10)
    assert table.fits(10)
    table.take(10)
    assert not table.has_slot
    assert not table.fits(0)


@pytest.mark.parametrize(("concurrency", "headroom", "cap"), [(1, 0.1, 1), (10, 0.1, 11), (64, 0.25, 80), (4, 0.0, 4)])
def test_headroom_is_a_share_rounded_down(concurrency: int, headroom: float, cap: int) -> None:
    assert credits(concurrency, headroom=headroom).request_cap == cap


def test_tokens_are_capped() -> None:
    table = credits(10, token_cap=100)
    table.take(60)
    assert table.fits(40)
    assert not table.fits(41)


def test_a_request_above_the_token_cap_runs_alone() -> None:
    table = credits(10, token_cap=100)
    assert table.fits(500)
    table.take(500)
    assert not table.fits(1)
    table.give(500)
    assert table.fits(1)


def test_giving_back_more_than_was_taken_is_an_error() -> None:
    table = credits(1)
    table.take(5)
    with pytest.raises(ValueError, match="credit for 6 tokens returned"):
        table.give(6)
    table.give(5)
    with pytest.raises(ValueError, match="0 requests"):
        table.give(0)
