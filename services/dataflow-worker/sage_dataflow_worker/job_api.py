"""What people and programs do with jobs: check, submit, read, watch, cancel."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable

from nats.aio.client import Client

from sage_common.errors import InvalidRequestError
from sage_common.trace_context import current_traceparent
from sage_dataflow_worker.job import Job, JobState, is_job_id
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.job_streams import JobStreams
from sage_dataflow_worker.pipeline_texts import PipelineTexts
from sage_dataflow_worker.task_store import TaskStore
from sage_kernel.problems import PipelineInvalidError
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_platform import subjects
from sage_platform.jetstream_access import reaching_jetstream

DEFAULT_LIST_LIMIT = 100


class JobApi:
    """Acts on jobs through the shared state, so any worker answers for every job."""

    def __init__(
        self,
        connection: Client,
        streams: JobStreams,
        store: JobStore,
        tasks: TaskStore,
        texts: PipelineTexts,
        now_ms: Callable[[], int],
        retention_ms: int,
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._store = store
        self._tasks = tasks
        self._texts = texts
        self._now_ms = now_ms
        self._retention_ms = retention_ms

    async def validate(self, pipeline: str, tenant: str = DEFAULT_TENANT) -> tuple[list[str], str]:
        """Return all errors of a pipeline, and its spec hash when there are none."""
        try:
            return [], (await self._texts.admit(_encoded(pipeline), tenant, has_caller=True)).spec_hash
        except PipelineInvalidError as error:
            return [str(problem) for problem in error.problems], ""

    async def submit(self, pipeline: str, job_id: str, tenant: str = DEFAULT_TENANT) -> Job:
        """Submit a pipeline. A wrong one becomes a failed job with all its errors; an id known already, its job.

        Args:
            tenant: whose job it is.

        Raises:
            InvalidRequestError: ``job_id`` cannot name a job.
            ContendedError: too many jobs wait.
        """
        job_id = job_id or f"job-{secrets.token_hex(8)}"
        if not is_job_id(job_id):
            raise InvalidRequestError(
                f"{job_id[:64]!r} cannot name a job; use letters, digits, '.', '_' and '-', at most 128", param="job_id"
            )
        with reaching_jetstream():
            return await self._submit(pipeline, job_id, tenant)

    async def get(self, job_id: str) -> Job:
        """Return a job. Raises NotFoundError."""
        with reaching_jetstream():
            return (await self._store.require(job_id)).job

    def newest(self, limit: int, is_wanted: Callable[[Job], bool] = lambda _: True) -> list[Job]:
        """Return the newest jobs that are wanted, at most ``limit`` (0: 100)."""
        self._store.forget_older_than(self._now_ms() - self._retention_ms)
        return self._store.newest(limit or DEFAULT_LIST_LIMIT, is_wanted)

    async def watch(self, job_id: str) -> AsyncIterator[Job]:
        """Yield a job now and after each change until it has ended. Raises NotFoundError."""
        with reaching_jetstream():
            stored = await self._store.require(job_id)
        yield stored.job
        while not stored.job.state.ended:
            stored = await self._store.after(job_id, stored.revision)
            yield stored.job

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job. One that has ended stays as it is. Raises NotFoundError."""
        with reaching_jetstream():
            while True:
                stored = await self._store.require(job_id)
                if stored.job.state.ended:
                    return stored.job
                written = await self._store.write(
                    stored.job.ended_as(JobState.CANCELLED, self._now_ms()), stored.revision
                )
                if written is not None:
                    # The state alone stops the run at its next reading; this makes it read now.
                    await self._connection.publish(subjects.JOBS_CANCEL, job_id.encode())
                    return written.job

    async def _submit(self, pipeline: str, job_id: str, tenant: str) -> Job:
        known = await self._store.get(job_id)
        if known is not None:
            return known.job
        now_ms = self._now_ms()
        job = Job(job_id, "", JobState.PENDING, now_ms, now_ms, tenant=tenant)
        try:
            admitted = await self._texts.admit(_encoded(pipeline), tenant, has_caller=True)
        except PipelineInvalidError as error:
            job = job.ended_as(JobState.FAILED, now_ms, tuple(str(problem) for problem in error.problems))
        else:
            submission = await self._streams.submit(job_id, pipeline, tenant)
            job = Job(
                job_id,
                admitted.spec.metadata.name,
                JobState.PENDING,
                now_ms,
                now_ms,
                spec_hash=admitted.spec_hash,
                message=submission.sequence,
                tenant=tenant,
                traceparent=current_traceparent(),
            )
        stored = await self._store.write(job, 0)
        # A worker may have taken the job before its state was written; then that state is the later one.
        return stored.job if stored else (await self._store.require(job_id)).job


def _encoded(pipeline: str) -> bytes:
    return pipeline.encode("utf-8", "surrogatepass")
