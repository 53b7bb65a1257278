"""Pipelines run as jobs of the mesh's dataflow workers, whose results are collected here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from sage_client.jobs.job_client import open_jobs
from sage_client.jobs.job_views import DeadLetters, JobView, NodeProgressView, ResultPiece
from sage_client.jobs.jobs import Jobs
from sage_common.errors import CancelledError, SageError, UnavailableError, UnprocessableError
from sage_common.tasks import end_tasks
from sage_kernel.connectors.collections import OnRecords
from sage_kernel.run_context import DeadLetter, Skipped
from sage_kernel.runtime.progress import MAX_DEAD_LETTERS, NodeCounts, OnProgress, RunResult
from sage_kernel.spec import PipelineSpec

CANCEL_SECONDS = 5.0
# As long as a worker takes to start again on a slow machine, and more.
PATIENCE_SECONDS = 60.0
ASK_AGAIN_SECONDS = 0.5
# No attempt to connect takes this long: a stream that did had been there, though it had nothing to say.
HELD_SECONDS = 30.0


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
    on_records: OnRecords | None = None,
    collects: bool = True,
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
        on_records: called with a collection and the records that it has got, as they are published.
        collects: whether the result has the records; False where ``on_records`` has them, as on a stream without end.
        on_submit: called once with the job.
        on_wait: called with for whom it waits, when that takes longer than two seconds.

    Raises:
        InvalidRequestError: a node holds a function of this process, which no worker has.
        JobFailedError: with all of its errors; a worker may refuse what this process would run.
        CancelledError: somebody cancelled the job.
        UnavailableError: no dataflow worker answers, or none has for a minute.
    """
    text = spec.to_yaml()
    began = time.monotonic()
    jobs = await open_jobs(target, api_key=api_key, on_wait=on_wait)
    try:
        job = await jobs.submit(text, job_id, tenant=tenant)
        if on_submit is not None:
            on_submit(job)
        try:
            return await _followed(jobs, job, on_progress, on_records, began, collects=collects)
        except asyncio.CancelledError:
            with contextlib.suppress(SageError, asyncio.TimeoutError):
                await asyncio.wait_for(jobs.cancel(job.job_id), CANCEL_SECONDS)
            raise
    finally:
        await jobs.close()


async def _followed(
    jobs: Jobs,
    job: JobView,
    on_progress: OnProgress | None,
    on_records: OnRecords | None,
    began: float,
    *,
    collects: bool,
) -> RunResult:
    watching = asyncio.create_task(_ended(jobs, job, on_progress), name="watch-job")
    reading = asyncio.create_task(_read(jobs, job.job_id, on_records, collects=collects), name="read-results")
    try:
        done, _ = await asyncio.wait({watching, reading}, return_when=asyncio.FIRST_COMPLETED)
        if reading in done and watching not in done:
            # A job on an endless stream would otherwise run on with nobody to read it.
            reading.result()
        last = await watching
        if last.state == "failed":
            raise JobFailedError(last.job_id, last.errors)
        if last.state == "cancelled":
            raise CancelledError(f"the job {last.job_id} was cancelled")
        pieces, end = await reading
        letters = await _letters(jobs, job.job_id)
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
    patience = _Patience()
    while not last.ended:
        try:
            async for last in jobs.watch(job.job_id):
                patience.renew()
                if on_progress is not None:
                    for node in last.progress:
                        on_progress(node.node_id, _counts(node))
        except UnavailableError as error:
            await patience.wait(error)
    return last


async def _read(
    jobs: Jobs, job_id: str, on_records: OnRecords | None, *, collects: bool
) -> tuple[list[ResultPiece], dict[str, Any]]:
    """Return the pieces of all collections, where they are collected, and what the job says of itself at its end."""
    pieces: list[ResultPiece] = []
    patience = _Patience()
    after = 0
    while True:
        try:
            async for piece in jobs.results(job_id, after=after, follow=True):
                patience.renew()
                after = piece.sequence
                if piece.end is not None:
                    return pieces, piece.end
                if collects:
                    pieces.append(piece)
                if on_records is not None:
                    on_records(piece.collection, piece.records)
            return pieces, {}
        except UnavailableError as error:
            await patience.wait(error)


async def _letters(jobs: Jobs, job_id: str) -> DeadLetters:
    patience = _Patience()
    while True:
        try:
            return await jobs.dead_letters(job_id, limit=MAX_DEAD_LETTERS)
        except UnavailableError as error:
            await patience.wait(error)


class _Patience:
    """Asks again where the worker that answered is gone: the job goes on with another, or when it is back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._asked_at = now()
        self._until: float | None = None

    def renew(self) -> None:
        """Say that there was an answer."""
        self._until = None

    async def wait(self, error: UnavailableError) -> None:
        """Wait a moment. Raises ``error`` where there has been no answer, and no connection, for too long."""
        now = self._now()
        if self._until is None or now - self._asked_at >= HELD_SECONDS:
            self._until = now + PATIENCE_SECONDS
        if now >= self._until:
            raise error
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        self._asked_at = self._now()


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
