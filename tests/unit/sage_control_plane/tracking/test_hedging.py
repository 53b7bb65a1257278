"""A request whose first token is long overdue is tried on a second engine, once, inside a budget."""

from __future__ import annotations

import pytest
from fixtures.control_plane import CHAT, Pool, engine, request

from sage_common.errors import EngineFailedError, InternalError
from sage_control_plane.request.engine_state import EngineState, RunningRequest
from sage_control_plane.request.request import Attempt, RequestKind, TokensUsed
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decisions import Dispatch, Outcome
from sage_control_plane.tracking.settings import HedgeSettings, RetrySettings


def taught(
    hedge_ratio: float = 0.5, *others: str, ttft: float = 0.05, concurrency: int = 4, max_tries: int = 3
) -> Pool:
    """A pool of two engines, or more, that are known to begin after 50 ms."""
    kinds = CHAT | {RequestKind.EMBEDDING}
    engines = [engine(name, kinds=kinds, concurrency=concurrency) for name in ("a", "b", *others)]
    settings = ControlSettings(
        hedging=HedgeSettings(ratio=hedge_ratio), headroom=0.0, retries=RetrySettings(max_tries=max_tries)
    )
    pool = Pool(*engines, settings=settings)
    for number in range(60):
        pool.submit(request(f"w{number}", pool.now))
        pool.now += ttft
        pool.manager.first_token(f"w{number}", pool.running[f"w{number}"].attempt, pool.now)
        pool.now += 0.98
        pool.manager.finished(f"w{number}", pool.running[f"w{number}"].attempt, pool.now, TokensUsed(50, 50))
        pool.decide()
    pool.decisions.clear()
    return pool


def hedged(*others: str, **settings: int) -> tuple[Pool, Dispatch, Dispatch]:
    """A request with two attempts in the air."""
    pool = taught(0.5, *others, **settings)
    overdue(pool)
    first, hedge = pool.dispatches()
    return pool, first, hedge


def fails(pool: Pool, attempt: Dispatch, *, retryable: bool = True, replying: bool = False) -> None:
    error = EngineFailedError("boom", code="engine_failed", retryable=retryable)
    pool.manager.failed("r", attempt.attempt, error, pool.now, started_replying=replying)
    pool.decide()


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
        winner, losing = (hedge, first) if winner_is_hedge else (first, hedge)
        pool.manager.first_token("r", winner.attempt, pool.now)
        pool.decide()
        (abort,) = pool.aborts()
        assert (abort.engine_id, abort.up_to) == (losing.engine_id, losing.attempt)
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


def test_a_hedge_names_the_attempt_beside_which_it_runs_and_counts_as_a_try() -> None:
    _, first, hedge = hedged()
    assert (first.hedge_of, hedge.hedge_of) == (None, first.attempt.dispatch)
    assert (first.tries, hedge.tries) == (1, 2)


def test_a_prediction_of_milliseconds_hedges_nothing_before_the_floor() -> None:
    pool = taught(ttft=0.01)
    pool.submit(request("r", pool.now))
    pool.advance(0.09)
    assert len(pool.dispatches()) == 1
    pool.advance(0.02)
    assert len(pool.dispatches()) == 2


def test_an_answer_that_is_not_streamed_is_overdue_only_when_all_of_it_is() -> None:
    pool = taught()
    # 50 ms to the first token and 20 ms for each of 50 after it.
    pool.submit(request("r", pool.now, streaming=False))
    pool.advance(3.0)
    assert len(pool.dispatches()) == 1
    pool.advance(0.3)
    assert len(pool.dispatches()) == 2


def test_an_overdue_embedding_is_hedged() -> None:
    pool = taught()
    for number in range(60):
        pool.submit(request(f"e{number}", pool.now, kind=RequestKind.EMBEDDING, streaming=False))
        pool.now += 0.05
        pool.finish(f"e{number}")
    pool.decisions.clear()
    pool.submit(request("r", pool.now, kind=RequestKind.EMBEDDING, streaming=False))
    pool.advance(0.2)
    assert [d.hedge for d in pool.dispatches()] == [False, True]


def test_a_request_waits_for_a_free_engine_to_be_hedged_on() -> None:
    pool = taught(concurrency=1)
    pool.submit(request("other", pool.now), request("r", pool.now))
    pool.manager.first_token("other", pool.running["other"].attempt, pool.now)
    pool.advance(1.0)
    assert len(pool.dispatches()) == 2
    pool.finish("other")
    pool.advance(1.0)
    assert [d.request_id for d in pool.dispatches() if d.hedge] == ["r"]


def test_a_request_is_not_hedged_beyond_its_tries() -> None:
    pool = taught(max_tries=1)
    overdue(pool)
    assert len(pool.dispatches()) == 1


def test_the_abort_of_a_loser_spares_an_answer_that_has_begun() -> None:
    pool, first, _ = hedged()
    pool.manager.first_token("r", first.attempt, pool.now)
    pool.decide()
    assert [abort.unbegun for abort in pool.aborts()] == [True]


@pytest.mark.parametrize("stopped_is_first", [False, True])
def test_of_two_that_have_begun_the_one_that_the_edge_stops_ends_and_the_other_is_booked(
    stopped_is_first: bool,
) -> None:
    pool, first, hedge = hedged()
    pool.manager.first_token("r", first.attempt, pool.now)
    pool.manager.first_token("r", hedge.attempt, pool.now)
    pool.decide()
    assert pool.manager.outstanding == 2
    stopped, read = (first, hedge) if stopped_is_first else (hedge, first)
    pool.manager.cancel("r", stopped.attempt, pool.now, stopped.engine_id)
    pool.manager.cancelled("r", stopped.attempt, pool.now)
    pool.decide()
    assert pool.manager.outstanding == 1
    assert not pool.ends()
    pool.manager.finished("r", read.attempt, pool.now, TokensUsed(50, 10))
    pool.decide()
    assert pool.ends()[-1].outcome is Outcome.FINISHED
    assert pool.manager.outstanding == 0
    record = pool.manager.decision_log.get("r")
    assert record is not None
    assert record.engine_id == read.engine_id


def test_an_answer_that_is_complete_ends_the_request_and_leaves_another_that_has_begun_to_its_edge() -> None:
    pool, first, hedge = hedged()
    pool.manager.first_token("r", first.attempt, pool.now)
    pool.manager.first_token("r", hedge.attempt, pool.now)
    pool.decide()
    aborted = len(pool.aborts())
    pool.manager.finished("r", first.attempt, pool.now)
    pool.decide()
    assert pool.ends()[-1].outcome is Outcome.FINISHED
    assert pool.manager.outstanding == 0
    assert len(pool.aborts()) == aborted
    pool.manager.finished("r", hedge.attempt, pool.now)
    assert not pool.decide()


def test_late_word_of_an_attempt_that_lost_changes_nothing() -> None:
    pool, first, hedge = hedged()
    pool.manager.first_token("r", hedge.attempt, pool.now)
    pool.decide()
    pool.manager.cancel("r", first.attempt, pool.now, first.engine_id)
    pool.manager.cancelled("r", first.attempt, pool.now)
    fails(pool, first)
    assert pool.manager.holds("r")
    assert pool.manager.outstanding == 1


def test_a_failure_that_no_other_engine_could_mend_ends_only_its_attempt_while_the_other_runs() -> None:
    pool, first, hedge = hedged()
    fails(pool, first, retryable=False)
    assert pool.manager.outstanding == 1
    assert not pool.ends()
    pool.manager.finished("r", hedge.attempt, pool.now)
    pool.decide()
    assert pool.ends()[-1].outcome is Outcome.FINISHED


def test_when_both_have_failed_for_good_the_edge_gets_the_error_because_it_waits_for_one_of_them() -> None:
    pool, first, hedge = hedged()
    fails(pool, hedge)
    fails(pool, first, retryable=False)
    (refusal,) = pool.refusals()
    assert refusal.error.code == "engine_failed"
    assert refusal.attempt > hedge.attempt
    assert not pool.manager.holds("r")


def test_when_both_fail_they_count_as_one_try_of_three() -> None:
    pool, first, hedge = hedged("c", "d")
    fails(pool, first)
    fails(pool, hedge)
    error = EngineFailedError("boom", code="engine_failed", retryable=True)
    tried = {first.engine_id, hedge.engine_id}
    for tries in (3, 4):
        assert not pool.refusals()
        while len(pool.dispatches()) < tries:  # the back-off, and no time for another hedge
            pool.advance(0.01)
        last = pool.dispatches()[-1]
        assert last.tries == tries
        assert last.engine_id not in tried
        tried.add(last.engine_id)
        pool.manager.failed("r", last.attempt, error, pool.now, started_replying=False)
        pool.decide()
    assert "gave up after 4 tries" in pool.refusals()[-1].error.message


def test_a_winner_that_dies_in_mid_stream_is_its_edges_to_recover() -> None:
    pool, first, hedge = hedged()
    pool.manager.first_token("r", hedge.attempt, pool.now)
    pool.decide()
    pool.manager.engine_lost(hedge.engine_id, "it died", pool.now)
    pool.decide()
    assert pool.refusals()[-1].error.code == "engine_lost"
    assert pool.refusals()[-1].error.retryable
    again = request("r", pool.now, submission=2)
    pool.submit(again)
    assert pool.dispatches()[-1].engine_id == first.engine_id
    assert pool.manager.outstanding == 1


def test_another_submission_stops_both_attempts() -> None:
    pool, first, hedge = hedged("c")
    pool.submit(request("r", pool.now, submission=2))
    stopped = {(abort.engine_id, abort.up_to.dispatch) for abort in pool.aborts()}
    assert (hedge.engine_id, hedge.attempt.dispatch) in stopped
    assert any(up_to >= first.attempt.dispatch and engine in (None, first.engine_id) for engine, up_to in stopped)
    assert pool.manager.outstanding == 1
    assert pool.dispatches()[-1].attempt.submission == 2


def test_a_hedged_request_that_the_client_gives_up_stops_on_both_engines() -> None:
    pool, first, hedge = hedged()
    pool.manager.cancel("r", now=pool.now)
    pool.decide()
    assert pool.manager.outstanding == 0
    assert not pool.manager.holds("r")
    stopped = [(abort.engine_id, abort.up_to) for abort in pool.aborts()]
    assert (hedge.engine_id, hedge.attempt) in stopped
    assert (None, first.attempt) in stopped
    assert [end.outcome for end in pool.ends() if end.request_id == "r"] == [Outcome.CANCELLED]


def test_a_hedge_that_its_engine_does_not_list_is_lost_alone() -> None:
    pool, first, hedge = hedged()
    pool.now += 1.0
    for _ in range(2):
        pool.manager.engine_updated(engine(hedge.engine_id), pool.now)
    pool.decide()
    assert [(a.engine_id, a.up_to) for a in pool.aborts()] == [(hedge.engine_id, hedge.attempt)]
    assert pool.manager.outstanding == 1
    pool.manager.finished("r", first.attempt, pool.now)
    pool.decide()
    assert pool.ends()[-1].outcome is Outcome.FINISHED


def test_a_first_token_that_only_a_heartbeat_shows_decides_too() -> None:
    pool, first, hedge = hedged()
    running = (RunningRequest("r", hedge.attempt, True, 100),)
    pool.manager.engine_updated(engine(hedge.engine_id, running=running), pool.now)
    pool.decide()
    assert [(a.engine_id, a.up_to) for a in pool.aborts()] == [(first.engine_id, first.attempt)]
    pool.manager.finished("r", hedge.attempt, pool.now)
    pool.advance(10.0)
    assert pool.manager.outstanding == 0


def heard(engine_id: str, attempt: Attempt, *, begun: bool = False) -> EngineState:
    return engine(engine_id, running=(RunningRequest("r", attempt, begun, 100),))


@pytest.mark.parametrize("later_first", [False, True])
def test_two_attempts_that_a_new_leader_finds_race_on(later_first: bool) -> None:
    first, hedge = ("a", Attempt(1, (1 << 20) + 1)), ("b", Attempt(1, (1 << 20) + 2))
    pool = Pool(epoch=2)
    for name, attempt in (hedge, first) if later_first else (first, hedge):
        pool.manager.engine_updated(heard(name, attempt), pool.now)
    assert pool.manager.outstanding == 2
    pool.manager.first_token("r", hedge[1], pool.now)
    pool.decide()
    assert [(a.engine_id, a.up_to) for a in pool.aborts()] == [first]
    pool.manager.finished("r", hedge[1], pool.now)
    pool.decide()
    assert pool.ends()[-1].outcome is Outcome.FINISHED
    assert pool.manager.outstanding == 0


def test_of_two_that_a_new_leader_finds_the_one_that_has_begun_goes_on() -> None:
    first, hedge = Attempt(1, (1 << 20) + 1), Attempt(1, (1 << 20) + 2)
    pool = Pool(epoch=2)
    pool.manager.engine_updated(heard("a", first), pool.now)
    pool.manager.engine_updated(heard("b", hedge, begun=True), pool.now)
    pool.decide()
    assert [(a.engine_id, a.up_to) for a in pool.aborts()] == [("a", first)]
    assert pool.manager.outstanding == 1


def test_of_two_that_a_new_leader_finds_one_may_fail() -> None:
    first, hedge = Attempt(1, (1 << 20) + 1), Attempt(1, (1 << 20) + 2)
    pool = Pool(epoch=2)
    pool.manager.engine_updated(heard("a", first), pool.now)
    pool.manager.engine_updated(heard("b", hedge), pool.now)
    error = InternalError("a bug")
    pool.manager.failed("r", first, error, pool.now, started_replying=False)
    pool.decide()
    assert pool.manager.holds("r")
    pool.manager.engine_lost("b", "it died", pool.now)
    pool.decide()
    assert pool.ends()[-1].outcome is Outcome.LOST
    assert pool.manager.outstanding == 0


def test_a_tenant_pays_once_for_two_attempts() -> None:
    settled: list[float] = []
    pool, first, hedge = hedged()
    policy = pool.manager._queue.policy  # what a policy is charged is seen nowhere else
    policy.settled = lambda _request, seconds: settled.append(seconds)  # type: ignore[method-assign]
    pool.manager.first_token("r", hedge.attempt, pool.now)
    pool.manager.finished("r", hedge.attempt, pool.now, TokensUsed(50, 50))
    pool.manager.finished("r", first.attempt, pool.now, TokensUsed(50, 50))
    assert len(settled) == 1


def test_the_log_records_both_attempts_and_why_one_was_stopped() -> None:
    pool, _, hedge = hedged()
    pool.manager.first_token("r", hedge.attempt, pool.now)
    pool.manager.finished("r", hedge.attempt, pool.now)
    pool.decide()
    record = pool.manager.decision_log.get("r")
    assert record is not None
    assert [(d.decision.hedge, d.error_code) for d in record.dispatches] == [(False, "hedge_lost"), (True, None)]
    assert (record.engine_id, record.outcome, record.error_code) == (hedge.engine_id, "finished", None)


def test_one_report_says_that_an_answer_to_a_lost_race_has_begun_and_is_complete() -> None:
    pool, first, hedge = hedged()
    pool.manager.first_token("r", first.attempt, pool.now)
    pool.decide()
    assert pool.manager.outstanding == 1
    pool.manager.finished("r", hedge.attempt, pool.now, TokensUsed(50, 10), 0.05)
    pool.decide()
    assert pool.ends()[-1].outcome is Outcome.FINISHED
    assert pool.manager.outstanding == 0
