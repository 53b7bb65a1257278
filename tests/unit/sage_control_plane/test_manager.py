"""The manager queues, places, refuses and expires."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from fixtures.control_plane import Pool, engine, request

from sage_common.errors import (
    ContendedError,
    DeadlineExceededError,
    InvalidRequestError,
    UnavailableError,
)
from sage_control_plane.policies.admission_settings import AdmissionSettings
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_control_plane.request.request import RequestKind, ServiceClass
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decisions import Dispatch, Outcome
from sage_control_plane.tracking.reconciliation import EPOCH_SHIFT

TIGHT = ControlSettings(headroom=0.0)


def test_a_request_goes_to_a_free_engine_at_once() -> None:
    pool = Pool(engine("a"), epoch=5)
    (dispatch,) = pool.submit(request("r", pool.now))
    assert isinstance(dispatch, Dispatch)
    assert (dispatch.engine_id, dispatch.tries, dispatch.queue_us) == ("a", 1, 0)
    assert dispatch.attempt.submission == 1
    assert dispatch.attempt.dispatch == (5 << EPOCH_SHIFT) + 1
    assert dispatch.candidates[0][0] == "a"


def test_later_attempts_are_above_earlier_ones_and_a_new_epochs_above_all() -> None:
    old, new = Pool(engine("a"), epoch=3), Pool(engine("a"), epoch=4)
    first, second = old.submit(request("1"), request("2"))
    (third,) = new.submit(request("1"))
    assert isinstance(first, Dispatch)
    assert isinstance(second, Dispatch)
    assert isinstance(third, Dispatch)
    assert first.attempt < second.attempt < third.attempt


def test_a_burst_of_equal_requests_spreads_over_equal_engines() -> None:
    pool = Pool(*(engine(name, concurrency=64) for name in "abc"))
    pool.submit(*(request(str(n), pool.now) for n in range(60)))
    assert all(18 <= count <= 22 for count in Counter(d.engine_id for d in pool.dispatches()).values())


def test_a_burst_with_little_credit_spreads_over_equal_engines_as_they_finish() -> None:
    pool = Pool(*(engine(name, concurrency=2) for name in "abc"), settings=TIGHT)
    pool.submit(*(request(str(n), pool.now) for n in range(60)))
    while pool.running:
        pool.now += 0.1
        for request_id in list(pool.running):
            pool.manager.finished(request_id, pool.running[request_id].attempt, pool.now)
        pool.decide()
    assert all(18 <= count <= 22 for count in Counter(d.engine_id for d in pool.dispatches()).values())


def test_an_engine_never_gets_more_than_its_credit() -> None:
    pool = Pool(engine("a", concurrency=3), settings=TIGHT)
    pool.submit(*(request(str(n), pool.now) for n in range(10)))
    assert len(pool.running) == 3
    pool.finish("0")
    assert len(pool.running) == 3
    assert pool.manager.queued == 6


def test_tokens_are_credit_too() -> None:
    pool = Pool(engine("a", token_cap=250))
    pool.submit(*(request(str(n), pool.now, tokens=100) for n in range(4)))
    assert sorted(pool.running) == ["0", "1"]


def test_a_large_request_is_not_starved_by_small_ones_behind_it() -> None:
    pool = Pool(engine("a", concurrency=8, token_cap=300))
    pool.submit(request("small", pool.now, tokens=100), request("large", pool.now, tokens=900))
    pool.submit(request("after", pool.now + 1, tokens=10))
    assert list(pool.running) == ["small"]
    pool.finish("small")
    assert list(pool.running) == ["large"]


def test_a_model_without_a_free_engine_does_not_hold_up_another() -> None:
    pool = Pool(engine("a", "m", concurrency=1), engine("b", "n", concurrency=1), settings=TIGHT)
    pool.submit(request("1", pool.now), request("2", pool.now), request("3", pool.now + 1, model="n"))
    assert sorted(pool.running) == ["1", "3"]


def test_an_engine_that_does_not_do_the_kind_of_work_is_not_used() -> None:
    pool = Pool(engine("a", kinds=frozenset({RequestKind.EMBEDDING})), engine("b"))
    pool.submit(request("r", pool.now))
    assert pool.running["r"].engine_id == "b"


def test_a_slow_engine_gets_less_work() -> None:
    pool = Pool(*(engine(name, concurrency=8) for name in ("fast", "slow")))
    due: list[tuple[float, str]] = []
    for step in range(4000):
        pool.now = 100 + step * 0.02
        for at, request_id in [entry for entry in due if entry[0] <= pool.now]:
            due.remove((at, request_id))
            pool.finish(request_id)
        pool.submit(request(str(step), pool.now))
        for request_id, dispatch in pool.running.items():
            if not any(request_id == other for _, other in due):
                due.append((pool.now + (0.1 if dispatch.engine_id == "fast" else 0.5), request_id))
    late = Counter(d.engine_id for d in pool.dispatches()[2000:])
    assert late["fast"] > 3 * late["slow"]


def test_nothing_is_sent_to_an_engine_that_is_not_ready_or_drains() -> None:
    pool = Pool(engine("starting", phase=EnginePhase.STARTING), engine("drained"), engine("leaving"))
    pool.manager.set_draining("drained", True, pool.now)
    pool.manager.engine_updated(engine("leaving", phase=EnginePhase.DRAINING), pool.now)
    pool.submit(request("r", pool.now))
    assert not pool.dispatches()
    pool.manager.set_draining("drained", False, pool.now)
    pool.decide()
    assert pool.running["r"].engine_id == "drained"


def test_an_engine_can_be_drained_before_it_is_known() -> None:
    pool = Pool(engine("b"))
    pool.manager.set_draining("a", True, pool.now)
    pool.manager.engine_updated(engine("a"), pool.now)
    pool.submit(*(request(str(n), pool.now) for n in range(4)))
    assert {d.engine_id for d in pool.dispatches()} == {"b"}


def test_work_waits_for_an_engine_that_starts() -> None:
    pool = Pool(engine("a", phase=EnginePhase.STARTING))
    pool.submit(request("r", pool.now))
    assert pool.manager.queued == 1
    pool.advance(20)
    pool.manager.engine_updated(engine("a"), pool.now)
    (dispatch,) = pool.decide()
    assert isinstance(dispatch, Dispatch)
    assert dispatch.queue_us == 20_000_000


def test_work_for_a_model_whose_engines_were_all_given_up_fails_at_once_with_their_reasons() -> None:
    def failing(engine_id: str, reason: str) -> EngineState:
        return replace(engine(engine_id), phase=EnginePhase.UNHEALTHY, reason=reason)

    given_up = "given up after 3 starts in a row: vLLM ended with status 1; its last words:\nsecret prompt"
    pool = Pool(failing("a", "starting again in 1 s: x"), failing("b", "connection refused"))
    pool.submit(request("waiting", pool.now))
    pool.manager.engine_updated(failing("a", given_up), pool.now)
    pool.decide()
    assert pool.manager.holds("waiting")  # the other engine may come back
    pool.manager.engine_updated(failing("b", "given up: no such model"), pool.now)
    pool.decide()
    pool.submit(request("later", pool.now))
    for refusal in pool.refusals():
        assert refusal.error.code == "engine_given_up"
        assert "a: given up after 3 starts in a row: vLLM ended with status 1;" in refusal.error.message
        assert "b: given up: no such model" in refusal.error.message
        assert "secret" not in refusal.error.message
    assert [refusal.request_id for refusal in pool.refusals()] == ["waiting", "later"]
    pool.manager.engine_updated(engine("b"), pool.now)
    pool.submit(request("after", pool.now))
    assert pool.running["after"].engine_id == "b"


def test_a_model_that_no_engine_knows_is_refused_with_503() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now, model="other"))
    (refusal,) = pool.refusals()
    assert isinstance(refusal.error, UnavailableError)
    assert refusal.error.code == "no_engine"
    assert not pool.manager.holds("r")


def test_a_full_queue_refuses_with_429_and_when_to_come_back() -> None:
    limits = AdmissionSettings(max_queued_bytes=1000, class_max_queued={"interactive": 2})
    pool = Pool(engine("a", concurrency=1), settings=ControlSettings(admission=limits))
    pool.submit(request("0", pool.now))
    pool.submit(*(request(str(n), pool.now) for n in range(1, 5)))
    assert [type(r.error) for r in pool.refusals()] == [ContendedError] * 2
    assert [r.request_id for r in pool.refusals()] == ["3", "4"]
    assert (pool.refusals()[0].error.retry_after_seconds or 0) >= 1


@pytest.mark.parametrize("again", [{"submission": 2}, {"handed_over": True}])
def test_what_another_scheduler_had_admitted_is_not_judged_again(again: dict[str, object]) -> None:
    limits = AdmissionSettings(class_max_queued={"interactive": 0})
    pool = Pool(engine("a", concurrency=1), settings=replace(TIGHT, admission=limits))
    pool.submit(request("new", pool.now), *(replace(request(str(n), pool.now), **again) for n in range(5)))
    assert [refusal.request_id for refusal in pool.refusals()] == ["new"]
    assert pool.manager.queued == 4


def test_refused_requests_count_as_demand_but_those_for_unknown_models_take_no_memory() -> None:
    limits = AdmissionSettings(class_max_queued={"interactive": 0})
    pool = Pool(engine("a", concurrency=1), policy="hybrid", settings=ControlSettings(admission=limits))
    pool.submit(*(request(str(n), pool.now, model="m") for n in range(3)))
    pool.submit(*(request(f"unknown {n}", pool.now, model=f"unknown-{n}") for n in range(3)))
    assert len(pool.refusals()) == 6
    ((route, streams),) = pool.manager._reservation._demands.items()
    assert route.model == "m"
    assert sum(stream.per_second(pool.now) > 0.0 for stream in streams) == 1


def test_a_request_that_waits_too_long_is_refused_with_504() -> None:
    pool = Pool(engine("a", concurrency=1))
    pool.submit(request("first", pool.now), request("second", pool.now, timeout=3.0))
    assert pool.manager.next_deadline() == pytest.approx(103.0)
    pool.advance(2.9)
    assert not pool.refusals()
    pool.advance(0.2)
    (refusal,) = pool.refusals()
    assert refusal.request_id == "second"
    assert isinstance(refusal.error, DeadlineExceededError)
    assert pool.manager.queued == 0
    assert pool.finish("first")[0].request_id == "first"


def test_a_request_on_an_engine_does_not_expire_here() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now, timeout=1.0))
    pool.advance(100)
    assert not pool.refusals()


def test_a_cancelled_request_leaves_the_queue() -> None:
    pool = Pool(engine("a", concurrency=1))
    pool.submit(request("1", pool.now), request("2", pool.now), request("3", pool.now))
    pool.manager.cancel("2")
    pool.decide()
    pool.finish("1")
    assert list(pool.running) == ["3"]
    assert [(e.request_id, e.outcome) for e in pool.ends()] == [("2", Outcome.CANCELLED), ("1", Outcome.FINISHED)]


def test_a_cancelled_request_frees_its_engine_and_the_executor_is_told() -> None:
    pool = Pool(engine("a", concurrency=1))
    pool.submit(request("1", pool.now), request("2", pool.now))
    attempt = pool.running["1"].attempt
    pool.manager.cancel("1")
    pool.decide()
    assert [(abort.request_id, abort.up_to) for abort in pool.aborts()] == [("1", attempt)]
    assert list(pool.running) == ["2"]


def test_the_managers_own_abort_does_not_cancel_a_newer_attempt() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("r", pool.now))
    old = pool.running["r"].attempt
    pool.manager.engine_lost(pool.running["r"].engine_id, "test", pool.now)
    pool.decide()
    assert pool.running["r"].attempt > old
    pool.manager.cancel("r", old)
    assert pool.manager.holds("r")
    pool.manager.cancel("r", pool.running["r"].attempt)
    assert not pool.manager.holds("r")


def test_a_repeated_submission_is_ignored() -> None:
    pool = Pool(engine("a", concurrency=1))
    assert pool.manager.submit(request("1", pool.now), pool.now)
    pool.decide()
    for held in ("1", "2"):
        pool.submit(request(held, pool.now))
        assert not pool.manager.submit(request(held, pool.now), pool.now)
    assert len(pool.dispatches()) == 1
    assert pool.manager.queued == 1


def test_a_higher_submission_supersedes_a_running_one() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now))
    old = pool.running["r"].attempt
    pool.submit(request("r", pool.now, submission=2))
    assert [abort.up_to for abort in pool.aborts()] == [old]
    assert pool.running["r"].attempt.submission == 2
    assert pool.manager.outstanding == 1
    assert not pool.ends()


def test_a_higher_submission_supersedes_a_queued_one() -> None:
    pool = Pool(engine("a", concurrency=1))
    pool.submit(request("busy", pool.now), request("r", pool.now))
    pool.submit(request("r", pool.now, submission=2))
    assert pool.manager.queued == 1
    assert not pool.manager.submit(request("r", pool.now, submission=1), pool.now)
    pool.finish("busy")
    assert pool.running["r"].attempt.submission == 2


def test_word_of_an_older_attempt_is_ignored() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("r", pool.now))
    old = pool.running["r"]
    pool.manager.engine_lost(old.engine_id, "test", pool.now)
    pool.decide()
    pool.manager.finished("r", old.attempt, pool.now)
    pool.manager.first_token("r", old.attempt, pool.now)
    assert pool.manager.holds("r")
    pool.finish("r")
    assert not pool.manager.holds("r")


def test_changing_the_policy_keeps_every_queued_request() -> None:
    pool = Pool(engine("a", concurrency=1), policy="fifo")
    pool.submit(request("busy", pool.now))
    classes = [ServiceClass.BULK, ServiceClass.DEFAULT, ServiceClass.INTERACTIVE]
    pool.submit(*(request(str(n), pool.now, service_class=classes[n % 3]) for n in range(9)))
    pool.manager.set_policy("priority", pool.now)
    assert pool.manager.policy == "priority"
    assert pool.manager.queued == 9
    for _ in range(9):
        pool.finish(next(iter(pool.running)))
    served = [d.request_id for d in pool.dispatches()][1:]
    assert served == ["2", "5", "8", "1", "4", "7", "0", "3", "6"]


def test_an_unknown_policy_changes_nothing() -> None:
    pool = Pool(engine("a", concurrency=1))
    pool.submit(request("1", pool.now), request("2", pool.now))
    with pytest.raises(InvalidRequestError, match="known: fifo"):
        pool.manager.set_policy("best", pool.now)
    assert pool.manager.policy == "fifo"
    pool.finish("1")
    assert list(pool.running) == ["2"]


def test_an_idle_manager_needs_no_timer() -> None:
    pool = Pool(engine("a"))
    assert pool.manager.next_deadline() is None
    pool.submit(request("r", pool.now))
    assert pool.manager.next_deadline() is None
