"""What a key opens, for how long, and at which gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fixtures.manual_clock import ManualClock

from sage_common.errors import UnavailableError
from sage_studio.access import KEPT_SECONDS, AccessPool

NOBODY = "http://127.0.0.1:9"


class Gateways:
    """Where the gateway is."""

    def __init__(self) -> None:
        self.url = NOBODY

    def __call__(self) -> str:
        return self.url


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def gateways() -> Gateways:
    return Gateways()


@pytest.fixture
async def pool(gateways: Gateways, clock: ManualClock) -> AsyncIterator[AccessPool]:
    pool = AccessPool(gateways, clock)
    yield pool
    await pool.close()


async def test_pages_of_one_key_share_what_it_opens_and_those_of_another_do_not(pool: AccessPool) -> None:
    assert pool.access("k") is pool.access("k")
    assert pool.access("k") is not pool.access("other")


async def test_what_no_page_shows_any_more_is_closed(pool: AccessPool, clock: ManualClock) -> None:
    shown, left = pool.access("shown"), pool.access("left")
    clock.advance(KEPT_SECONDS)
    shown.feed.watch()
    clock.advance(1.0)
    assert pool.access("shown") is shown
    assert pool.access("left") is not left


async def test_a_gateway_that_has_moved_is_followed(pool: AccessPool, gateways: Gateways) -> None:
    before = pool.access("k")
    gateways.url = "http://127.0.0.1:10"
    after = pool.access("k")
    assert (before.target, after.target) == (NOBODY, "http://127.0.0.1:10")


async def test_where_no_gateway_answers_nobody_knows_whether_it_asks_for_keys(pool: AccessPool) -> None:
    assert await pool.needs_key() is None
    with pytest.raises(UnavailableError, match="no gateway answers"):
        await pool.check("k")
