from __future__ import annotations

import pytest
from fixtures.manual_clock import ManualClock

from sage_control_plane.request.engine_state import EngineLoad
from sage_llm_coordinator.engines.load_watch import SPAN_SECONDS, STALE_SECONDS, LoadWatch
from sage_mesh.upstream.upstream import NotServingError


class Pages:
    """Gives what a test wrote."""

    def __init__(self) -> None:
        self.page = b""

    async def metrics(self) -> bytes:
        if not self.page:
            raise NotServingError("GET /metrics answered 404", status=404)
        return self.page


def page(running: int = 0, waiting: int = 0, tokens: int = 0, seconds: float = 0.0) -> bytes:
    return (
        f"vllm:num_requests_running {running}\nvllm:num_requests_waiting {waiting}\n"
        f"vllm:inter_token_latency_seconds_sum {seconds}\nvllm:inter_token_latency_seconds_count {tokens}\n"
    ).encode()


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watch(pages: Pages, clock: ManualClock) -> LoadWatch:
    return LoadWatch(pages, clock)


async def test_nothing_is_known_before_the_first_page(watch: LoadWatch) -> None:
    assert watch.load is None
    with pytest.raises(NotServingError):
        await watch.read_page()
    assert watch.load is None


async def test_the_last_page_counts_until_it_is_stale(watch: LoadWatch, pages: Pages, clock: ManualClock) -> None:
    pages.page = page(running=3, waiting=2)
    assert await watch.read_page()
    assert watch.load == EngineLoad(running=3, waiting=2)
    clock.advance(STALE_SECONDS)
    assert watch.load is not None
    clock.advance(0.1)
    assert watch.load is None


async def test_means_are_of_late_and_not_of_all_time(watch: LoadWatch, pages: Pages, clock: ManualClock) -> None:
    pages.page = page(tokens=1000, seconds=10.0)
    await watch.read_page()
    assert watch.load is not None
    assert watch.load.inter_token_seconds == pytest.approx(0.01)
    clock.advance(1)
    pages.page = page(tokens=1100, seconds=15.0)
    await watch.read_page()
    assert watch.load.inter_token_seconds == pytest.approx(0.05)
    clock.advance(SPAN_SECONDS + 1)
    await watch.read_page()
    clock.advance(1)
    pages.page = page(tokens=1200, seconds=17.0)
    await watch.read_page()
    assert watch.load.inter_token_seconds == pytest.approx(0.02)


async def test_a_restarted_server_begins_anew(watch: LoadWatch, pages: Pages, clock: ManualClock) -> None:
    pages.page = page(tokens=1000, seconds=10.0)
    await watch.read_page()
    clock.advance(1)
    pages.page = page(tokens=10, seconds=1.0)
    await watch.read_page()
    assert watch.load is not None
    assert watch.load.inter_token_seconds == pytest.approx(0.1)


async def test_a_page_of_something_else_leaves_the_load_unknown(watch: LoadWatch, pages: Pages) -> None:
    pages.page = b"http_requests_total 3\n"
    assert not await watch.read_page()
    assert watch.load is None
    assert watch.cache_tokens is None
