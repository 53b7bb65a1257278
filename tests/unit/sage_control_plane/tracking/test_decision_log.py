"""The story of each request, as the manager tells it to the log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.control_plane import Pool, engine, request

from sage_common.errors import EngineFailedError
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import Attempt
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decision_log import DecisionRecord
from sage_control_plane.tracking.reconciliation import EPOCH_SHIFT
from sage_control_plane.tracking.settings import RetrySettings


def recorded(pool: Pool, request_id: str) -> DecisionRecord:
    record = pool.manager.decision_log.get(request_id)
    assert record is not None
    return record


def fail(pool: Pool, request_id: str) -> None:
    error = EngineFailedError("connection reset", retryable=True)
    attempt = pool.running[request_id].attempt
    pool.manager.failed(request_id, attempt, error, pool.now, started_replying=False)
    pool.decide()


def test_a_request_waits_runs_and_ends() -> None:
    pool = Pool(settings=ControlSettings(retries=RetrySettings(absence_seconds=60), headroom=0.0))
    pool.manager.engine_updated(engine("a", concurrency=1), pool.now)
    pool.submit(request("first", pool.now), request("r", pool.now))
    assert recorded(pool, "r").state == "queued"
    pool.advance(2)
    pool.finish("first")
    record = recorded(pool, "r")
    assert (record.state, record.engine_id, record.queue_seconds) == ("running", "a", pytest.approx(2))
    pool.now += 0.5
    pool.manager.first_token("r", pool.running["r"].attempt, pool.now, 0.4)
    pool.now += 1
    pool.finish("r")
    assert (record.state, record.actual_ttft, record.ended_at) == ("finished", 0.4, pool.now)


def test_each_dispatch_records_what_ended_it() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("r", pool.now))
    first = pool.running["r"].engine_id
    fail(pool, "r")
    assert recorded(pool, "r").state == "queued"
    pool.advance(5)
    pool.finish("r")
    record = recorded(pool, "r")
    assert [(d.decision.tries, d.error_code, d.error) for d in record.dispatches] == [
        (1, "engine_failed", "connection reset"),
        (2, None, None),
    ]
    assert record.dispatches[0].decision.engine_id == first != record.engine_id
    assert (record.state, record.error_code) == ("finished", None)


def test_the_loss_of_an_engine_is_recorded_with_the_dispatch_it_ended() -> None:
    pool = Pool(engine("a"), engine("b"))
    pool.submit(request("r", pool.now))
    lost = pool.running["r"].engine_id
    pool.manager.engine_lost(lost, "its executor is silent", pool.now)
    pool.decide()
    record = recorded(pool, "r")
    assert (record.state, record.dispatches[0].error_code) == ("running", "engine_lost")
    assert "its executor is silent" in record.dispatches[0].error


def test_a_failure_that_is_the_answer_is_the_requests_error() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now))
    error = EngineFailedError("died", code="engine_died")
    pool.manager.failed("r", pool.running["r"].attempt, error, pool.now, started_replying=True)
    pool.decide()
    record = recorded(pool, "r")
    assert (record.state, record.error_code, record.error) == ("failed", "engine_died", "died")


def test_what_expires_in_the_queue_is_refused_with_its_wait() -> None:
    pool = Pool(engine("a", concurrency=1), settings=ControlSettings(headroom=0.0))
    pool.submit(request("first", pool.now), request("r", pool.now, timeout=3))
    pool.advance(4)
    record = recorded(pool, "r")
    assert (record.state, record.error_code) == ("refused", "expired_in_queue")
    assert record.queue_seconds == pytest.approx(3)


def test_a_request_cancelled_in_the_queue_is_recorded() -> None:
    pool = Pool(engine("a", concurrency=1), settings=ControlSettings(headroom=0.0))
    pool.submit(request("first", pool.now), request("r", pool.now))
    pool.manager.cancel("r", now=pool.now)
    assert recorded(pool, "r").state == "cancelled"


def test_an_id_that_comes_again_after_its_end_begins_anew() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now, tenant="ann"))
    pool.finish("r")
    pool.submit(request("r", pool.now, tenant="bob"))
    record = recorded(pool, "r")
    assert record.request is not None
    assert (record.request.tenant, record.state, len(record.dispatches)) == ("bob", "running", 1)


def test_a_later_submission_by_the_edge_is_the_same_story() -> None:
    pool = Pool(engine("a"))
    pool.submit(request("r", pool.now))
    pool.manager.failed("r", pool.running["r"].attempt, EngineFailedError("died"), pool.now, started_replying=True)
    pool.decide()
    pool.submit(request("r", pool.now, submission=2))
    record = recorded(pool, "r")
    assert (record.state, record.error_code, record.ended_at) == ("running", None, None)
    assert [d.error_code for d in record.dispatches] == ["engine_failed", None]


def test_only_the_latest_are_kept() -> None:
    pool = Pool(engine("a", concurrency=100), settings=ControlSettings(explained=3))
    pool.submit(*(request(f"r{number}", pool.now) for number in range(5)))
    log = pool.manager.decision_log
    assert len(log) == 3
    assert [log.get(f"r{number}") is not None for number in range(5)] == [False, False, True, True, True]


def test_nothing_is_kept_when_nothing_is_asked_for() -> None:
    pool = Pool(engine("a"), settings=ControlSettings(explained=0))
    pool.submit(request("r", pool.now))
    fail(pool, "r")
    pool.advance(60)
    assert len(pool.manager.decision_log) == 0


def found(pool: Pool, any_id: str, tenant: str | None = None, most: int = 10) -> list[str]:
    return [record.request_id for record in pool.manager.decision_log.find(any_id, tenant, most)]


def test_requests_are_found_by_the_meshs_id_and_by_their_callers() -> None:
    pool = Pool(engine("a"))
    for key, tenant in (("r1", "ann"), ("r2", "bob"), ("r3", "ann"), ("r4", "ann")):
        named = None if key == "r4" else "same"
        pool.submit(replace(request(key, pool.now, tenant=tenant), correlation_id=named))
    assert found(pool, "r1") == ["r1"]
    assert found(pool, "same") == ["r3", "r2", "r1"]
    assert found(pool, "same", most=2) == ["r3", "r2"]
    assert found(pool, "same", "ann", most=2) == ["r3", "r1"]
    assert found(pool, "r1", "bob") == []
    assert found(pool, "nobody") == []


def test_a_request_found_running_is_found_by_what_its_engine_says_of_it() -> None:
    pool = Pool(epoch=2)
    attempt = Attempt(1, (1 << EPOCH_SHIFT) + 9)
    listed = (RunningRequest("r", attempt, tokens=100, tenant="ann", correlation_id="hers"),)
    pool.manager.engine_updated(engine("a", running=listed), pool.now)
    assert found(pool, "hers", "ann") == found(pool, "r") == ["r"]
    assert found(pool, "hers", "bob") == []
