"""Engines that answer 429 with a time to come back."""

from __future__ import annotations

import pytest
from fixtures.control_plane import Pool, engine, request

from sage_common.errors import ContendedError, SageError, UnavailableError
from sage_control_plane.pool.breaker import BreakerState
from sage_control_plane.tracking.decisions import Refuse


def full(seconds: float | None = 7.0, status: int = 429) -> ContendedError:
    return ContendedError("full", retry_after_seconds=seconds, retryable=True, upstream_status=status)


def fail(pool: Pool, request_id: str, error: SageError) -> str:
    dispatch = pool.running.pop(request_id)
    pool.manager.failed(request_id, dispatch.attempt, error, pool.now, started_replying=False)
    pool.decide()
    return dispatch.engine_id


def served_by(pool: Pool, count: int, prefix: str) -> set[str]:
    pool.submit(*(request(f"{prefix}{n}", pool.now) for n in range(count)))
    return {pool.running[f"{prefix}{n}"].engine_id for n in range(count)}


def test_it_gets_no_new_work_until_then_and_its_breaker_stays_closed() -> None:
    pool = Pool(engine("a", concurrency=64), engine("b", concurrency=64))
    pool.submit(request("r", pool.now))
    cooled = fail(pool, "r", full())
    other = "b" if cooled == "a" else "a"
    assert pool.running["r"].engine_id == other
    breaker = pool.manager.engines[cooled].breaker
    assert (breaker.shown, breaker.state) == ("cooling", BreakerState.CLOSED)
    assert served_by(pool, 6, "at once ") == {other}
    pool.advance(6.9)
    assert served_by(pool, 6, "before ") == {other}
    pool.advance(0.2)
    assert breaker.shown == "closed"
    assert cooled in served_by(pool, 6, "after ")


def test_what_runs_there_goes_on() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("runs", pool.now), request("r", pool.now))
    fail(pool, "r", full())
    pool.finish("runs")
    assert "runs" not in pool.running


def test_alone_its_word_is_the_answer_and_later_work_waits_for_it() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now))
    fail(pool, "r", full())
    [refusal] = pool.refusals()
    assert isinstance(refusal, Refuse)
    assert refusal.error.retry_after_seconds == 7.0
    assert not refusal.error.retryable
    pool.submit(request("later", pool.now))
    assert "later" not in pool.running
    pool.advance(7.1)
    assert pool.running["later"].engine_id == "a"


def test_a_longer_word_counts_and_a_shorter_one_does_not_shorten_it() -> None:
    pool = Pool(engine("a"))
    pool.submit(*(request(name, pool.now) for name in ("r", "s", "t")))
    fail(pool, "r", full(5.0))
    fail(pool, "s", full(10.0))
    fail(pool, "t", full(1.0))
    pool.advance(9.0)
    assert pool.manager.engines["a"].breaker.shown == "cooling"
    pool.advance(1.1)
    assert pool.manager.engines["a"].breaker.shown == "closed"


def test_it_is_bounded() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now))
    fail(pool, "r", full(3600.0))
    pool.advance(61.0)
    assert pool.manager.engines["a"].breaker.shown == "closed"


@pytest.mark.parametrize("error", [full(None), full(0.0), UnavailableError("x", retry_after_seconds=7, retryable=True)])
def test_other_answers_cool_nothing(error: SageError) -> None:
    pool = Pool(engine("a", concurrency=64), engine("b", concurrency=64))
    pool.submit(request("r", pool.now))
    failed = fail(pool, "r", error)
    assert pool.manager.engines[failed].breaker.shown == "closed"


def test_an_engine_that_comes_back_anew_is_not_cooled() -> None:
    pool = Pool(engine("a", concurrency=64), engine("b", concurrency=64))
    pool.submit(request("r", pool.now))
    cooled = fail(pool, "r", full())
    pool.manager.engine_lost(cooled, "gone", pool.now)
    pool.manager.engine_updated(engine(cooled), pool.now)
    pool.advance(8.0)
    assert pool.manager.engines[cooled].breaker.shown == "closed"


def test_the_decision_log_says_for_how_long() -> None:
    pool = Pool(engine("a", concurrency=64), engine("b", concurrency=64))
    pool.submit(request("r", pool.now))
    fail(pool, "r", full())
    record = pool.manager.decision_log.get("r")
    assert record is not None
    assert [dispatch.cooled_seconds for dispatch in record.dispatches] == [7.0, None]
