"""This replica's decisions about a request → protobuf."""

from __future__ import annotations

from sage.inference.v1 import request_pb2
from sage.scheduler.v1 import scheduler_pb2
from sage_common.clock import Clock
from sage_control_plane.tracking.decision_log import DecisionLog, DecisionRecord, DispatchRecord
from sage_mesh.wire.requests import classification_to_wire

# Any number of requests may have the same caller's id, and the answer is one message.
MOST_EXPLAINED = 20


class Explanations:
    """Reads the decision log, which outlives this replica's terms of leadership."""

    def __init__(self, replica: str, log: DecisionLog, clock: Clock) -> None:
        self._replica = replica
        self._log = log
        self._clock = clock

    def of(self, query: scheduler_pb2.ExplainRequest) -> list[scheduler_pb2.Explanation]:
        """Return this replica's explanations of the latest requests that have an id, at most ``MOST_EXPLAINED``."""
        now = self._clock.now()
        records = self._log.find(query.request_id, query.tenant or None, MOST_EXPLAINED)
        return [explanation_to_wire(record, self._replica, now) for record in records]


def explanation_to_wire(record: DecisionRecord, replica: str, now: float) -> scheduler_pb2.Explanation:
    """Translate a record as of ``now``. Without the request, times count from the first dispatch or decision."""
    request = record.request
    dispatched_at = record.dispatches[0].at if record.dispatches else record.decided_at
    arrived_at = dispatched_at if request is None else request.arrived_at
    waiting = 0.0 if record.waiting_since is None else now - record.waiting_since
    return scheduler_pb2.Explanation(
        request_id=record.request_id,
        correlation_id=record.correlation_id or "",
        scheduler_id=replica,
        state=record.state,
        tenant=record.tenant or "",
        classification=_classification(record),
        policy=record.policy,
        band=record.band,
        age_ms=_whole_ms(now - arrived_at),
        decided_ms_ago=_whole_ms(now - record.decided_at),
        queue_ms=(record.queue_seconds + waiting) * 1000,
        engine_id=record.engine_id,
        predicted_ttft_ms=_ms(record.predicted_ttft),
        actual_ttft_ms=_ms(record.actual_ttft),
        ended_after_ms=_ms(None if record.ended_at is None else max(0.0, record.ended_at - arrived_at)),
        dispatches=[_dispatch(dispatch, arrived_at) for dispatch in record.dispatches],
        error_code=record.error_code,
        error_message=record.error,
        interruptions=record.interruptions,
    )


def _classification(record: DecisionRecord) -> request_pb2.Classification | None:
    if record.request is None:
        return None
    message = classification_to_wire(record.request.classification)
    # Hashes mean nothing to people, and there is one for every 64 tokens.
    message.ClearField("prefix_blocks")
    return message


def _dispatch(record: DispatchRecord, arrived_at: float) -> scheduler_pb2.DispatchExplanation:
    decision = record.decision
    return scheduler_pb2.DispatchExplanation(
        engine_id=decision.engine_id,
        tries=decision.tries,
        hedge=decision.hedge,
        at_ms=max(0.0, record.at - arrived_at) * 1000,
        queue_ms=decision.queue_us / 1000,
        band=decision.band,
        candidates=[scheduler_pb2.Candidate(engine_id=engine, score=score) for engine, score in decision.candidates],
        predicted_ttft_ms=_ms(decision.predicted_ttft),
        error_code=record.error_code,
        error_message=_error(record),
    )


def _error(record: DispatchRecord) -> str | None:
    """Return an attempt's error, and what it meant for its engine."""
    if record.error is None or record.cooled_seconds is None:
        return record.error
    return f"{record.error}; it gets no new work for {record.cooled_seconds:g} s, as it asked"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _whole_ms(seconds: float) -> int:
    return max(0, int(seconds * 1000))
