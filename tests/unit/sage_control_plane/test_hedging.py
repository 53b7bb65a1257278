"""A request whose first token is long overdue is tried on a second engine, once, inside a budget."""

from __future__ import annotations

from fixtures.control_plane import Pool, engine, request

from sage_common.errors import EngineFailedError
from sage_control_plane.decisions import Outcome
from sage_control_plane.settings import ControlSettings


def taught(hedge_ratio: float = 0.5) -> Pool:
    """A pool of two engines that are known to begin after 50 ms."""
    pool = Pool(engine("a"), engine("b"), settings=ControlSettings(hedge_ratio=hedge_ratio, headroom=0.0))
    for number in range(60):
        pool.submit(request(f"w{number}", pool.now))
        pool.now += 0.05
        pool.manager.first_token(f"w{number}", pool.running[f"w{number}"].attempt, pool.now)
        pool.now += 0.1
        pool.finish(f"w{number}")
    pool.decisions.clear()
    return pool


def overdue(pool: Pool) -> None:
    pool.submit(request("r", pool.now))
    assert pool.dispatches()[0].predicted_ttft is not None
    pool.advance(0.5)


def test_an_overdue_request_is_hedged_on_another_engine_once() -> None:
    pool = taught()
    overdue(pool)
    pool.advance(5.0)
    first, hedge = pool.dispatches()
    assert not first.hedge
    assert hedge.hedge
    assert {first.engine_id, hedge.engine_id} == {"a", "b"}
    assert hedge.attempt > first.attempt
    assert pool.manager.totals.hedged == 1


def test_whoever_begins_first_goes_on_and_the_other_is_aborted_on_its_engine() -> None:
    for winner_is_hedge in (False, True):
        pool = taught()
        overdue(pool)
        first, hedge = pool.dispatches()
        winner, loser = (hedge, first) if winner_is_hedge else (first, hedge)
        pool.manager.first_token("r", winner.attempt, pool.now)
        pool.decide()
        (abort,) = pool.aborts()
        assert (abort.engine_id, abort.up_to) == (loser.engine_id, loser.attempt)
        assert pool.manager.outstanding == 1
        pool.manager.finished("r", winner.attempt, pool.now)
        pool.decide()
        assert pool.ends()[-1].outcome is Outcome.FINISHED
        assert pool.manager.outstanding == 0
        record = pool.manager.decision_log.get("r")
        assert record is not None
        assert record.engine_id == winner.engine_id


def test_when_one_attempt_fails_the_other_goes_on_alone() -> None:
    for failing_is_hedge in (False, True):
        pool = taught()
        overdue(pool)
        first, hedge = pool.dispatches()
        failing, other = (hedge, first) if failing_is_hedge else (first, hedge)
        error = EngineFailedError("boom", code="engine_failed", retryable=True)
        pool.manager.failed("r", failing.attempt, error, pool.now, started_replying=False)
        pool.decide()
        assert len(pool.dispatches()) == 2
        pool.manager.finished("r", other.attempt, pool.now)
        pool.decide()
        assert pool.ends()[-1].outcome is Outcome.FINISHED


def test_when_both_engines_are_lost_the_request_waits_for_another() -> None:
    pool = taught()
    overdue(pool)
    pool.manager.engine_lost("a", "it died", pool.now)
    pool.decide()
    pool.manager.engine_lost("b", "it died", pool.now)
    pool.manager.engine_updated(engine("c"), pool.now)
    pool.decide()
    assert pool.dispatches()[-1].engine_id == "c"
    assert pool.manager.outstanding == 1


def test_a_cancelled_request_leaves_no_attempt_behind() -> None:
    pool = taught()
    overdue(pool)
    pool.manager.cancel("r", now=pool.now)
    pool.decide()
    assert pool.manager.outstanding == 0
    assert not pool.manager.holds("r")


def test_without_a_budget_nothing_is_hedged() -> None:
    pool = taught(hedge_ratio=0.0)
    overdue(pool)
    assert len(pool.dispatches()) == 1


def test_hedges_stay_inside_their_share() -> None:
    pool = taught(hedge_ratio=0.05)
    spent = 3
    for number in range(spent + 5):
        pool.submit(request(f"r{number}", pool.now))
        pool.advance(0.5)
        for request_id in list(pool.running):
            pool.finish(request_id)
    # 60 and 8 requests have been let in: 3.4 hedges.
    assert pool.manager.totals.hedged == spent
