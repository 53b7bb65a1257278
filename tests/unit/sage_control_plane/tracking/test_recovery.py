"""Failures, lost engines, and a leader that inherits work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.control_plane import Pool, engine, request

from sage_common.errors import EngineFailedError, ErrorKind, InvalidRequestError, SageError, UnavailableError
from sage_control_plane.pool.breaker import BreakerState
from sage_control_plane.pool.breaker_settings import BreakerSettings
from sage_control_plane.request.engine_state import EnginePhase, RunningRequest
from sage_control_plane.request.request import Attempt
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decisions import Outcome
from sage_control_plane.tracking.reconciliation import EPOCH_SHIFT
from sage_control_plane.tracking.settings import RetrySettings

BROKEN = EngineFailedError("connection reset", retryable=True)
ANSWERED_500 = EngineFailedError("HTTP 500", retryable=True, upstream_status=500)


def fail(pool: Pool, request_id: str, error: SageError = BROKEN, *, begun: bool = False) -> str:
    """The engine that runs the request fails it; return its id."""
    dispatch = pool.running.pop(request_id)
    pool.manager.failed(request_id, dispatch.attempt, error, pool.now, started_replying=begun)
    pool.decide()
    return dispatch.engine_id


def test_a_failed_request_is_tried_on_another_engine_after_a_pause() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("r", pool.now))
    first = fail(pool, "r")
    assert "r" not in pool.running
    pool.advance(1.0)
    assert pool.running["r"].engine_id != first
    assert pool.running["r"].tries == 2
    assert pool.manager.totals.retried == 1


def test_a_retry_waits_for_a_busy_engine_rather_than_go_back() -> None:
    pool = Pool(engine("a", concurrency=1), engine("b", concurrency=1))
    pool.submit(request("r", pool.now), request("other", pool.now))
    first = fail(pool, "r")
    pool.advance(1.0)
    assert "r" not in pool.running
    pool.finish("other")
    assert pool.running["r"].engine_id != first


def test_a_request_that_broke_off_on_an_engine_goes_to_another_and_back_only_where_there_is_none() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(*(replace(request(f"r{n}", pool.now), submission=2, avoided=frozenset({"a"})) for n in range(4)))
    assert {dispatch.engine_id for dispatch in pool.running.values()} == {"b"}
    alone = Pool(engine("a"))
    alone.submit(replace(request("r", alone.now), avoided=frozenset({"a"})))
    assert alone.running["r"].engine_id == "a"


def test_with_no_other_engine_the_same_one_is_tried_again() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now))
    fail(pool, "r")
    pool.advance(1.0)
    assert pool.running["r"].engine_id == "a"


def test_after_three_tries_the_error_is_the_answer_and_the_edge_is_not_to_repeat_it() -> None:
    pool = Pool(*(engine(name) for name in "abcd"))
    pool.submit(request("r", pool.now))
    used = []
    for _ in range(3):
        used.append(fail(pool, "r"))
        pool.advance(5.0)
    assert len(set(used)) == 3
    (refusal,) = pool.refusals()
    assert isinstance(refusal.error, EngineFailedError)
    assert "connection reset (gave up after 3 tries)" in refusal.error.message
    assert not refusal.error.retryable
    assert refusal.attempt > max(d.attempt for d in pool.dispatches())


def test_a_failure_that_is_the_answer_is_not_retried() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("bad", pool.now), request("cut", pool.now))
    fail(pool, "bad", InvalidRequestError("no such parameter"))
    fail(pool, "cut", BROKEN, begun=True)
    pool.advance(10)
    assert not pool.running
    assert [(e.request_id, e.outcome) for e in pool.ends()] == [("bad", Outcome.FAILED), ("cut", Outcome.FAILED)]


def test_an_outage_is_not_multiplied_by_retries() -> None:
    settings = ControlSettings(retries=RetrySettings(ratio=0.2, floor_per_second=0.0), breaker=BreakerSettings(10**9))
    pool = Pool(*(engine(name, concurrency=500) for name in "ab"), settings=settings)
    pool.submit(*(request(str(n), pool.now) for n in range(100)))
    for _ in range(5):
        for request_id in list(pool.running):
            fail(pool, request_id, ANSWERED_500)
        pool.advance(5)
    assert len(pool.dispatches()) == 120
    assert len(pool.refusals()) == 100


def test_what_a_dead_engine_held_goes_on_elsewhere_once_though_the_retry_budget_is_spent() -> None:
    settings = ControlSettings(retries=RetrySettings(ratio=0.0, floor_per_second=0.0), breaker=BreakerSettings(10**9))
    pool = Pool(*(engine(name, concurrency=500) for name in "ab"), settings=settings)
    pool.submit(*(request(str(n), pool.now) for n in range(100)))
    for request_id in list(pool.running):
        fail(pool, request_id, BROKEN)
    pool.advance(5)
    assert len(pool.dispatches()) == 200
    assert pool.refusals() == []
    for request_id in list(pool.running):
        fail(pool, request_id, BROKEN)
    pool.advance(5)
    assert len(pool.dispatches()) == 200, "a second loss pays for its retry"
    assert len(pool.refusals()) == 100


def test_a_failing_engine_is_ejected_and_returns_after_one_good_probe() -> None:
    settings = ControlSettings(breaker=BreakerSettings(consecutive_failures=2, base_ejection_seconds=10))
    pool = Pool(engine("a"), engine("b"), settings=settings)
    failures = 0
    while pool.manager.engines["a"].breaker.state is BreakerState.CLOSED:
        pool.submit(request(f"r{pool.now}", pool.now))
        for request_id, dispatch in list(pool.running.items()):
            if dispatch.engine_id == "a":
                fail(pool, request_id)
                failures += 1
            else:
                pool.finish(request_id)
        pool.advance(1)
    assert failures == 2
    pool.submit(*(request(f"s{n}", pool.now) for n in range(4)))
    assert {d.engine_id for d in pool.running.values()} == {"b"}
    pool.advance(10)
    assert pool.manager.engines["a"].breaker.state is BreakerState.HALF_OPEN
    pool.submit(*(request(f"t{n}", pool.now) for n in range(4)))
    probes = [request_id for request_id, d in pool.running.items() if d.engine_id == "a"]
    assert len(probes) == 1
    pool.finish(probes[0])
    assert pool.manager.engines["a"].breaker.state is BreakerState.CLOSED
    assert any(d.engine_id == "a" for d in pool.running.values())


def test_the_only_engine_of_a_model_is_never_ejected() -> None:
    settings = ControlSettings(breaker=BreakerSettings(consecutive_failures=1))
    pool = Pool(engine("a"), engine("other", "n"), engine("another", "n"), settings=settings)
    for number in range(5):
        pool.submit(request(str(number), pool.now))
        fail(pool, str(number))
    assert pool.manager.engines["a"].breaker.state is BreakerState.CLOSED


def test_a_lost_engines_unanswered_requests_go_elsewhere_at_once() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(*(request(str(n), pool.now) for n in range(4)))
    on_a = [request_id for request_id, d in pool.running.items() if d.engine_id == "a"]
    pool.manager.engine_lost("a", "its executor is silent", pool.now)
    pool.decide()
    assert len(on_a) == 2
    for request_id in on_a:
        assert (pool.running[request_id].engine_id, pool.running[request_id].tries) == ("b", 2)
    assert pool.manager.outstanding == 4


def test_the_first_loss_is_made_good_even_with_no_retry_budget() -> None:
    settings = ControlSettings(retries=RetrySettings(ratio=0.0, floor_per_second=0.0))
    pool = Pool(engine("a"), engine("b"), engine("c"), settings=settings)
    pool.submit(request("r", pool.now))
    for _ in range(2):
        pool.manager.engine_lost(pool.running["r"].engine_id, "killed", pool.now)
        pool.decide()
    (refusal,) = pool.refusals()
    assert "the retry budget is spent" in refusal.error.message


def test_a_lost_engines_begun_answer_is_given_back_to_the_edge() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("r", pool.now))
    pool.manager.first_token("r", pool.running["r"].attempt, pool.now)
    pool.manager.engine_lost(pool.running["r"].engine_id, "killed", pool.now)
    pool.decide()
    (refusal,) = pool.refusals()
    assert isinstance(refusal.error, EngineFailedError)
    assert refusal.error.retryable
    assert not pool.manager.holds("r")


def test_work_waits_a_while_for_the_successor_of_the_last_engine() -> None:
    pool = Pool(engine("a"), settings=ControlSettings(retries=RetrySettings(absence_seconds=5)))
    pool.submit(request("r", pool.now))
    pool.manager.engine_lost("a", "killed", pool.now)
    pool.decide()
    pool.advance(4)
    pool.submit(request("s", pool.now))
    assert not pool.refusals()
    pool.manager.engine_updated(engine("a2"), pool.now)
    pool.decide()
    assert {d.engine_id for d in pool.running.values()} == {"a2"}


def test_work_does_not_wait_for_ever_for_a_successor() -> None:
    pool = Pool(engine("a"), settings=ControlSettings(retries=RetrySettings(absence_seconds=5)))
    pool.submit(request("r", pool.now))
    pool.manager.engine_lost("a", "killed", pool.now)
    pool.advance(5.1)
    (refusal,) = pool.refusals()
    assert isinstance(refusal.error, UnavailableError)
    pool.submit(request("s", pool.now))
    assert len(pool.refusals()) == 2


# Heartbeats against the entries


def heartbeat(pool: Pool, engine_id: str, *running: RunningRequest) -> None:
    pool.manager.engine_updated(engine(engine_id, running=running), pool.now)
    pool.decide()


def test_a_dispatch_that_two_late_heartbeats_do_not_list_is_sent_again() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("r", pool.now))
    lost_on = pool.running["r"]
    pool.now += 0.3
    heartbeat(pool, lost_on.engine_id)
    heartbeat(pool, lost_on.engine_id)
    assert len(pool.dispatches()) == 1  # too early to tell
    pool.now += 0.3
    heartbeat(pool, lost_on.engine_id)
    assert len(pool.dispatches()) == 1
    pool.now += 0.25
    heartbeat(pool, lost_on.engine_id)
    assert pool.running["r"].engine_id != lost_on.engine_id
    assert [abort.up_to for abort in pool.aborts()] == [lost_on.attempt]


def test_a_listed_dispatch_is_not_missed() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now))
    dispatch = pool.running["r"]
    for _ in range(20):
        pool.now += 0.25
        heartbeat(pool, "a", RunningRequest("r", dispatch.attempt))
    assert len(pool.dispatches()) == 1
    assert not pool.aborts()


def test_a_missing_answer_that_had_begun_is_given_back_to_the_edge() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("r", pool.now))
    dispatch = pool.running["r"]
    pool.now += 0.6
    heartbeat(pool, dispatch.engine_id, RunningRequest("r", dispatch.attempt, started_replying=True))
    heartbeat(pool, dispatch.engine_id)
    heartbeat(pool, dispatch.engine_id)
    (refusal,) = pool.refusals()
    assert refusal.error.retryable


# A new leader


def inherited(request_id: str, *, begun: bool = False) -> RunningRequest:
    return RunningRequest(request_id, Attempt(1, (1 << EPOCH_SHIFT) + 9), begun, tokens=100)


def test_a_new_leader_adopts_what_runs() -> None:
    pool = Pool(epoch=2)
    heartbeat(pool, "a", *(inherited(str(n)) for n in range(3)))
    assert pool.manager.outstanding == 3
    assert pool.manager.engines["a"].credits.tokens == 300
    pool.submit(request("x", pool.now), request("y", pool.now))
    assert list(pool.running) == ["x"]
    pool.manager.finished("0", inherited("0").attempt, pool.now)
    pool.decide()
    assert list(pool.running) == ["x", "y"]


def test_a_resubmitted_request_that_runs_is_not_queued_again() -> None:
    pool = Pool(epoch=2)
    heartbeat(pool, "a", inherited("r"))
    pool.submit(request("r", pool.now))
    assert not pool.dispatches()
    pool.manager.engine_updated(engine("b"), pool.now)
    pool.manager.engine_lost("a", "killed", pool.now)
    pool.decide()
    assert pool.running["r"].engine_id == "b"


def test_a_request_resubmitted_before_its_heartbeat_comes_is_adopted_from_the_queue() -> None:
    pool = Pool(engine("a"), epoch=2)
    pool.manager.submit(request("r", pool.now), pool.now)  # not decided upon yet: the leader still listens
    heartbeat(pool, "a", inherited("r"))
    assert not pool.dispatches()
    assert (pool.manager.queued, pool.manager.outstanding) == (0, 1)


def test_a_lost_inherited_request_is_its_edges_to_recover() -> None:
    pool = Pool(epoch=2)
    heartbeat(pool, "a", inherited("r"))
    pool.manager.engine_lost("a", "killed", pool.now)
    pool.decide()
    assert [(e.request_id, e.outcome) for e in pool.ends()] == [("r", Outcome.LOST)]
    assert pool.manager.outstanding == 0


def test_what_this_leader_has_ended_is_not_adopted_again() -> None:
    pool = Pool(engine("a"), epoch=2)
    pool.submit(request("r", pool.now))
    attempt = pool.running["r"].attempt
    pool.finish("r")
    heartbeat(pool, "a", RunningRequest("r", attempt))
    assert pool.manager.outstanding == 0


@pytest.mark.parametrize("begun", [False, True])
def test_an_inherited_request_that_disappears_frees_its_credit(begun: bool) -> None:
    pool = Pool(epoch=2)
    heartbeat(pool, "a", inherited("r", begun=begun))
    pool.now += 0.6
    heartbeat(pool, "a")
    heartbeat(pool, "a")
    assert pool.manager.outstanding == 0
    assert not pool.manager.holds("r")


def test_what_waited_for_an_engine_that_still_loads_is_refused_with_what_it_loads() -> None:
    loading = replace(engine("a", phase=EnginePhase.STARTING), reason="measuring backends\nand its log")
    pool = Pool(loading)
    pool.submit(request("r", pool.now, timeout=3))
    pool.advance(4)
    (refusal,) = pool.refusals()
    assert refusal.error.code == "expired_in_queue"
    assert "its model is still loading (a: measuring backends)" in refusal.error.message


@pytest.mark.parametrize(
    ("phase", "state"), [(EnginePhase.UNHEALTHY, "not served now"), (EnginePhase.STARTING, "still loading")]
)
def test_a_request_that_the_policy_sheds_while_no_engine_is_ready_is_refused_with_the_reason(
    phase: EnginePhase, state: str
) -> None:
    lost = replace(engine("a", phase=phase), reason="Connection refused\nand more")
    pool = Pool(lost, policy="hybrid")
    pool.submit(request("r", pool.now, timeout=600))
    for _ in range(60):
        pool.advance(0.5)
        pool.manager.engine_updated(lost, pool.now)
        pool.decide()
    (refusal,) = pool.refusals()
    assert (refusal.error.kind, refusal.error.code) == (ErrorKind.UNAVAILABLE, "engine_not_ready")
    assert refusal.error.message == f"its model is {state} (a: Connection refused); send it again when it is ready"
