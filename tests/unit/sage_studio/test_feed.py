"""What a feed keeps of its polls."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.manual_clock import ManualClock
from fixtures.seen_requests import view

from sage_client.management.views import EngineView, PoolView, RequestView
from sage_common.errors import UnavailableError
from sage_studio import feed as feed_module
from sage_studio.feed import MeshFeed


class Gateway:
    """Stands where RestManagement is."""

    def __init__(self) -> None:
        self.listed: list[RequestView] = []
        self.asked: list[int] = []
        self.failure: UnavailableError | None = None

    async def requests(self, *, changed_within_ms: int = 0, limit: int | None = None) -> list[RequestView]:
        self.asked.append(changed_within_ms)
        if self.failure:
            raise self.failure
        return self.listed

    async def pools(self) -> list[PoolView]:
        return []

    async def engines(self) -> list[EngineView]:
        return []

    async def status(self) -> dict[str, Any]:
        return {"services": [], "services_problem": ""}


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def feed(gateway: Gateway, clock: ManualClock) -> MeshFeed:
    return MeshFeed(gateway, clock)  # type: ignore[arg-type]


def ids(feed: MeshFeed, since: int) -> list[str]:
    return [seen.view.request_id for seen in feed.changed_since(since)]


async def test_a_poll_asks_for_everything_first_and_then_for_what_changed(
    feed: MeshFeed, gateway: Gateway, clock: ManualClock
) -> None:
    gateway.listed = [view(request_id="new"), view(request_id="old", state="running", ended_after_ms=None)]
    await feed.poll()
    assert ids(feed, 0) == ["new", "old"]
    clock.advance(3.0)
    gateway.listed = [view(request_id="new"), view(request_id="old")]
    await feed.poll()
    assert gateway.asked == [0, 5000]
    assert ids(feed, 1) == ["old"]
    assert ids(feed, 2) == []
    assert feed.requests["old"].view.state == "finished"


async def test_the_arrival_of_a_request_stays_what_it_was_first_seen_as(feed: MeshFeed, gateway: Gateway) -> None:
    gateway.listed = [view(state="queued", ended_after_ms=None, age_ms=500)]
    await feed.poll()
    arrived = feed.requests["r"].arrived_unix_ms
    gateway.listed = [view(age_ms=90_000)]
    await feed.poll()
    assert feed.requests["r"].arrived_unix_ms == arrived


async def test_the_oldest_of_too_many_requests_are_left_out(
    feed: MeshFeed, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "KEPT_REQUESTS", 2)
    gateway.listed = [view(request_id=name) for name in ("c", "b", "a")]
    await feed.poll()
    assert ids(feed, 0) == ["c", "b"]


async def test_a_gateway_that_is_away_loses_nothing_that_was_known(
    feed: MeshFeed, gateway: Gateway, clock: ManualClock
) -> None:
    gateway.listed = [view()]
    await feed.poll()
    gateway.failure = UnavailableError("no gateway answers")
    for _ in range(2):
        clock.advance(60.0)
        with pytest.raises(UnavailableError):
            await feed.poll()
    assert ids(feed, 0) == ["r"]
    gateway.failure = None
    await feed.poll()
    # What came in the two minutes between is asked for.
    assert gateway.asked[-1] == 122_000
