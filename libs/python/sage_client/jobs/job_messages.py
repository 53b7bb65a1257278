"""The dataflow worker's messages in plain values."""

from __future__ import annotations

import orjson

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage_client.jobs.job_views import (
    DeadLetterView,
    JobEventView,
    JobView,
    NodeProgressView,
    ResultPiece,
    TaskCandidateView,
    TaskView,
)


def job_view(message: pb.Job) -> JobView:
    """Return a job."""
    return JobView(
        job_id=message.job_id,
        pipeline=message.pipeline,
        state=state_name(message),
        errors=tuple(message.errors),
        progress=tuple(map(_progress, message.progress)),
        worker_id=message.worker_id,
        created_unix_ms=message.created_unix_ms,
        updated_unix_ms=message.updated_unix_ms,
        spec_hash=message.spec_hash,
        attempts=message.attempts,
        waiting=message.waiting,
        tasks=message.tasks,
        plan=message.plan,
    )


def state_name(message: pb.Job) -> str:
    """Return a job's state in lower case."""
    return pb.JobState.Name(message.state).removeprefix("JOB_STATE_").lower()


def event_view(message: pb.JobEvent) -> JobEventView:
    """Return an event."""
    return JobEventView(
        sequence=message.sequence,
        kind=message.kind,
        unix_ms=message.unix_ms,
        state=message.state,
        task=message.task if message.HasField("task") else None,
        worker_id=message.worker_id,
        reason=message.reason,
        attempts=message.attempts,
        checkpoint=message.checkpoint,
        progress=tuple(map(_progress, message.progress)),
    )


def task_view(message: pb.JobTask) -> TaskView:
    """Return a task."""
    return TaskView(
        number=message.number,
        state=message.state,
        worker_id=message.worker_id,
        attempts=message.attempts,
        checkpoint=message.checkpoint,
        reason=message.reason,
        candidates=tuple(TaskCandidateView(c.worker_id, c.refusal, c.score) for c in message.candidates),
        splits=orjson.loads(message.splits_json or "{}"),
        errors=tuple(message.errors),
    )


def result_piece(message: pb.ReadResultsResponse) -> ResultPiece:
    """Return a piece of a job's results."""
    content = orjson.loads(message.json)
    if message.collection:
        return ResultPiece(message.sequence, message.collection, message.task, message.first, content)
    return ResultPiece(message.sequence, "", 0, 0, [], content)


def dead_letter_view(message: pb.DeadLetter) -> DeadLetterView:
    """Return a dead letter."""
    return DeadLetterView(
        sequence=message.sequence,
        node_id=message.node_id,
        error=message.error,
        attempts=message.attempts,
        spec_hash=message.spec_hash,
        record=orjson.loads(message.record_json),
    )


def _progress(message: pb.NodeProgress) -> NodeProgressView:
    return NodeProgressView(
        node_id=message.node_id,
        records_in=message.records_in,
        records_out=message.records_out,
        records_failed=message.records_failed,
        records_total=message.records_total if message.HasField("records_total") else None,
        watermark_unix_ms=message.watermark_unix_ms if message.HasField("watermark_unix_ms") else None,
    )
