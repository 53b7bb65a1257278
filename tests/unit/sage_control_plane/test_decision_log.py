"""Every decision can be explained afterwards, and what is kept has an end."""

from __future__ import annotations

from fixtures.control_plane import Pool, engine, request

from sage_control_plane.admission import AdmissionSettings, QueueLimit
from sage_control_plane.settings import ControlSettings


def test_a_record_tells_the_whole_story() -> None:
    pool = Pool(engine("a"), policy="hybrid")
    pool.submit(request("r", pool.now, tenant="t"))
    pool.now += 0.2
    pool.manager.first_token("r", pool.running["r"].attempt, pool.now)
    pool.finish("r")
    record = pool.manager.decision_log.get("r")
    assert record is not None
    assert (record.policy, record.band, record.engine_id, record.outcome) == ("hybrid", "interactive", "a", "finished")
    assert record.request is not None
    assert record.request.tenant == "t"
    assert abs((record.actual_ttft or 0) - 0.2) < 1e-9
    (dispatch,) = record.dispatches
    assert dispatch.decision.candidates[0][0] == "a"
    assert record.ended_at == pool.now


def test_a_refusal_keeps_its_cause() -> None:
    limits = AdmissionSettings(QueueLimit(requests=0))
    pool = Pool(engine("a"), settings=ControlSettings(admission=limits))
    pool.submit(request("r", pool.now))
    record = pool.manager.decision_log.get("r")
    assert record is not None
    assert (record.outcome, record.refusal_code) == ("refused", "queue_full")


def test_only_the_latest_requests_are_kept() -> None:
    pool = Pool(engine("a", concurrency=100), settings=ControlSettings(explained=10))
    pool.submit(*(request(f"r{number}", pool.now + number) for number in range(30)))
    assert len(pool.manager.decision_log) == 10
    assert pool.manager.decision_log.get("r0") is None
    assert pool.manager.decision_log.get("r29") is not None
