"""Pipelines run as jobs of the mesh's dataflow workers, whose results are collected here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from sage_client.jobs.job_client import open_jobs
from sage_client.jobs.job_views import JobView, NodeProgressView, ResultPiece
from sage_client.jobs.jobs import Jobs
from sage_common.errors import CancelledError, SageError, UnprocessableError
from sage_common.tasks import end_tasks
from sage_kernel.run_context import DeadLetter, Skipped
from sage_kernel.runtime.progress import MAX_DEAD_LETTERS, NodeCounts, OnProgress, RunResult
from sage_kernel.spec import PipelineSpec

CANCEL_SECONDS = 5.0


class JobFailedError(UnprocessableError):
    """A job failed; ``errors`` are all of its errors."""

    default_code = "job_failed"

    def __init__(self, job_id: str, errors: Sequence[str]) -> None:
        super().__init__("".join((f"the job {job_id} failed:", *(f"\n- {error}" for error in errors))))
        self.errors = tuple(errors)


async def run(
    spec: PipelineSpec,
    *,
    target: str | None = None,
    api_key: str | None = None,
    job_id: str = "",
    tenant: str = "",
    on_progress: OnProgress | None = None,
    on_submit: Callable[[JobView], None] | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> RunResult:
    """Run a pipeline to its end as a job. Cancelling the task cancels the job.

    Args:
        target: gateway (http://…), the mesh's NATS server (nats://…) or a worker (grpc://…); None takes the client's
            settings.
        job_id: a job that was submitted under this id already is followed; empty makes one.
        tenant: whose job it is; empty for the caller's own.
        on_progress: called with a node and its counts after each change.
        on_submit: called once with the job.
        on_wait: called with for whom it waits, when that takes longer than two seconds.

    Raises:
        InvalidRequestError: a node holds a function of this process, which no worker has.
        JobFailedError: with all of its errors; a worker may refuse what this process would run.
        CancelledError: somebody cancelled the job.
        UnavailableError: no dataflow worker answers.
    """
    text = spec.to_yaml()
    began = time.monotonic()
    jobs = await open_jobs(target, api_key=api_key, on_wait=on_wait)
    try:
        job = await jobs.submit(text, job_id, tenant=tenant)
        if on_submit is not None:
            on_submit(job)
        try:
            return await _followed(jobs, job, on_progress, began)
        except asyncio.CancelledError:
            with contextlib.suppress(SageError, asyncio.TimeoutError):
                await asyncio.wait_for(jobs.cancel(job.job_id), CANCEL_SECONDS)
            raise
    finally:
        await jobs.close()


async def _followed(jobs: Jobs, job: JobView, on_progress: OnProgress | None, began: float) -> RunResult:
    watching = asyncio.create_task(_ended(jobs, job, on_progress), name="watch-job")
    reading = asyncio.create_task(_read(jobs, job.job_id), name="read-results")
    try:
        last = await watching
        if last.state == "failed":
            raise JobFailedError(last.job_id, last.errors)
        if last.state == "cancelled":
            raise CancelledError(f"the job {last.job_id} was cancelled")
        pieces, end = await reading
        letters = await jobs.dead_letters(job.job_id, limit=MAX_DEAD_LETTERS)
    finally:
        await end_tasks(watching, reading)
    return RunResult(
        collections=_collected(pieces, end),
        counts={node.node_id: _counts(node) for node in last.progress},
        dead_letters=[DeadLetter(one.node_id, one.record, one.error, one.attempts) for one in letters.letters],
        skipped=[Skipped(*item) for item in end.get("skipped", ())],
        warnings=[(node, message) for node, message in end.get("warnings", ())],
        seconds=time.monotonic() - began,
    )


async def _ended(jobs: Jobs, job: JobView, on_progress: OnProgress | None) -> JobView:
    last = job
    async for last in jobs.watch(job.job_id):
        if on_progress is not None:
            for node in last.progress:
                on_progress(node.node_id, _counts(node))
    return last


async def _read(jobs: Jobs, job_id: str) -> tuple[list[ResultPiece], dict[str, Any]]:
    """Return the pieces of all collections, and what the job says of itself at its end."""
    pieces: list[ResultPiece] = []
    async for piece in jobs.results(job_id, follow=True):
        if piece.end is not None:
            return pieces, piece.end
        pieces.append(piece)
    return pieces, {}


def _collected(pieces: list[ResultPiece], end: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return records by collection, in the order of tasks, which is that of their splits, and within a task its own."""
    collections: dict[str, list[dict[str, Any]]] = {name: [] for name in end.get("collections", ())}
    for piece in sorted(pieces, key=lambda one: (one.task, one.first)):
        collections.setdefault(piece.collection, []).extend(piece.records)
    return collections


def _counts(node: NodeProgressView) -> NodeCounts:
    watermark = node.watermark_unix_ms
    return NodeCounts(
        records_in=node.records_in,
        records_out=node.records_out,
        records_failed=node.records_failed,
        watermark_us=None if watermark is None else watermark * 1000,
    )
