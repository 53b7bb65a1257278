"""Credits bound what is outstanding on an engine."""

from __future__ import annotations

import pytest
from fixtures.control_plane import engine

from sage_control_plane.credits import Credits


def credits(concurrency: int, token_cap: int = 0, headroom: float = 0.0) -> Credits:
    return Credits(engine("e", concurrency=concurrency, token_cap=token_cap).spec, headroom)


def test_no_more_requests_fit_than_the_concurrency_allows() -> None:
    ledger = credits(2)
    ledger.take(10)
    assert ledger.fits(10)
    ledger.take(10)
    assert not ledger.has_slot
    assert not ledger.fits(0)


@pytest.mark.parametrize(("concurrency", "headroom", "cap"), [(1, 0.1, 1), (10, 0.1, 11), (64, 0.25, 80), (4, 0.0, 4)])
def test_headroom_is_a_share_rounded_down(concurrency: int, headroom: float, cap: int) -> None:
    assert credits(concurrency, headroom=headroom).request_cap == cap


def test_tokens_are_capped() -> None:
    ledger = credits(10, token_cap=100)
    ledger.take(60)
    assert ledger.fits(40)
    assert not ledger.fits(41)


def test_a_request_above_the_token_cap_runs_alone() -> None:
    ledger = credits(10, token_cap=100)
    assert ledger.fits(500)
    ledger.take(500)
    assert not ledger.fits(1)
    ledger.give(500)
    assert ledger.fits(1)


def test_giving_back_more_than_was_taken_is_an_error() -> None:
    ledger = credits(1)
    ledger.take(5)
    with pytest.raises(ValueError, match="credit for 6 tokens returned"):
        ledger.give(6)
    ledger.give(5)
    with pytest.raises(ValueError, match="0 requests"):
        ledger.give(0)
