"""What is to be expected of a queue."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.control_plane import Pool, engine, request

from sage_control_plane.policies.outlook import Outlook, outlook
from sage_control_plane.request.request import PendingRequest


class View:
    """A pool in which each first token takes this long."""

    def __init__(self, ttft_seconds: float | None = None) -> None:
        self._ttft_seconds = ttft_seconds

    def predicted_ttft_seconds(self, _request: PendingRequest) -> float | None:
        return self._ttft_seconds


def expected(waiting: list[PendingRequest], rate: float, now: float = 0.0, view: Any = None) -> Outlook:
    return outlook(waiting, rate, view or View(), now)


def test_an_empty_queue_keeps_every_promise() -> None:
    assert expected([], 0.0) == Outlook(0.0, 1.0)


def test_nothing_is_expected_while_nothing_has_been_dispatched() -> None:
    assert expected([request("a")], 0.0) == Outlook(None, None)


def test_the_queue_drains_at_the_present_rate() -> None:
    # Each has 100 tokens and half a second to begin.
    found = expected([request(str(n)) for n in range(20)], 1000.0)
    assert found.drain_seconds == 2.0
    assert found.attainment == pytest.approx(6 / 20)


def test_what_an_engine_takes_to_begin_counts() -> None:
    found = expected([request(str(n)) for n in range(20)], 1000.0, view=View(0.3))
    assert found.attainment == pytest.approx(3 / 20)


def test_one_that_is_late_already_takes_nobodys_turn() -> None:
    late = [request(f"late-{n}", -10.0) for n in range(5)]
    fresh = [request(str(n)) for n in range(5)]
    assert expected(late + fresh, 1000.0).attainment == 0.5


def test_more_engines_mean_more_attained() -> None:
    waiting = [request(str(n), n / 100) for n in range(50)]
    shares = [expected(waiting, rate, 0.5).attainment for rate in (1000.0, 2000.0, 4000.0, 1e9)]
    assert shares == sorted(shares)  # type: ignore[type-var]
    assert shares[-1] == 1.0


def test_a_pool_says_what_is_to_be_expected_of_it() -> None:
    pool = Pool(engine("a", concurrency=2))
    assert pool.manager.outlook(pool.now) == Outlook(0.0, 1.0)
    pool.submit(*(request(str(n), pool.now) for n in range(5)))
    found = pool.manager.outlook(pool.now)
    # Two of 100 tokens were dispatched, which counts as 200 in half a second.
    assert found.drain_seconds == pytest.approx(300 / 400)
    assert found.attainment == pytest.approx(1.0)
