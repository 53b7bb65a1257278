"""This replica's decisions about a request → protobuf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sage.inference.v1 import request_pb2
from sage.scheduler.v1 import scheduler_pb2
from sage_common.clock import Clock
from sage_control_plane.tracking.decision_log import DecisionLog, DecisionRecord, DispatchRecord
from sage_mesh.wire.requests import classification_to_wire, routed_to_wire

# Any number of requests may have the same caller's id, and the answer is one message.
MOST_EXPLAINED = 20
# Requests of one message of a list.
LISTED_AT_ONCE = 200


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

    async def latest(
        self, query: scheduler_pb2.ListRequestsRequest
    ) -> AsyncIterator[scheduler_pb2.ListRequestsResponse]:
        """Yield the latest requests that this replica has decided about, the latest first.

        Between two batches other work goes on: ten thousand requests take as long as a tenth of a second.
        """
        now = self._clock.now()
        within = query.changed_within_ms / 1000
        since = now - within if within else float("-inf")
        records = self._log.latest(query.tenant or None, since, query.limit or len(self._log))
        for start in range(0, len(records), LISTED_AT_ONCE):
            batch = records[start : start + LISTED_AT_ONCE]
            yield scheduler_pb2.ListRequestsResponse(requests=[summary_to_wire(record, now) for record in batch])
            await asyncio.sleep(0)


def explanation_to_wire(record: DecisionRecord, replica: str, now: float) -> scheduler_pb2.Explanation:
    """Translate a record as of ``now``."""
    request, arrived_at = record.request, record.arrived_at
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
        queue_ms=queue_ms(record, now),
        engine_id=record.engine_id,
        predicted_ttft_ms=_ms(record.predicted_ttft),
        actual_ttft_ms=_ms(record.actual_ttft),
        ended_after_ms=_ms(None if record.ended_at is None else max(0.0, record.ended_at - arrived_at)),
        dispatches=[_dispatch(dispatch, arrived_at) for dispatch in record.dispatches],
        error_code=record.error_code,
        error_message=record.error,
        interruptions=record.interruptions,
        routed=None if request is None or request.routed is None else routed_to_wire(request.routed),
        output_tokens=record.output_tokens,
    )


def summary_to_wire(record: DecisionRecord, now: float) -> scheduler_pb2.RequestSummary:
    """Translate what a list shows of a record, as of ``now``."""
    arrived_at = record.arrived_at
    classification = _classification(record)
    if classification is not None:
        classification.ClearField("reasons")
    first_token_at, ended_at = record.first_token_at, record.ended_at
    return scheduler_pb2.RequestSummary(
        request_id=record.request_id,
        correlation_id=record.correlation_id or "",
        tenant=record.tenant or "",
        state=record.state,
        classification=classification,
        engine_id=record.engine_id,
        age_ms=_whole_ms(now - arrived_at),
        decided_ms_ago=_whole_ms(now - record.decided_at),
        queue_ms=queue_ms(record, now),
        tries=len(record.dispatches),
        hedged=any(dispatch.decision.hedge for dispatch in record.dispatches),
        ttft_ms=_ms(None if first_token_at is None else max(0.0, first_token_at - arrived_at)),
        ended_after_ms=_ms(None if ended_at is None else max(0.0, ended_at - arrived_at)),
        output_tokens=record.output_tokens,
        error_code=record.error_code,
        interruptions=record.interruptions,
    )


def queue_ms(record: DecisionRecord, now: float) -> float:
    """Return the milliseconds that a request has been queued, over all tries."""
    waiting = 0.0 if record.waiting_since is None else now - record.waiting_since
    return (record.queue_seconds + waiting) * 1000


def _classification(record: DecisionRecord) -> request_pb2.Classification | None:
    if record.request is None:
        return None
    message = classification_to_wire(record.request.classification)
    # Hashes mean nothing to people, and there is one for every 64 tokens.
    message.ClearField("prefix_blocks")
    message.ClearField("session")
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
        candidates=[
            scheduler_pb2.Candidate(engine_id=engine, score=score, cached_share=cached)
            for engine, score, cached in decision.candidates
        ],
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
