"""The worker: pulls jobs, no more than it has free slots for, and runs each."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext
from prometheus_client import Counter, Gauge

from sage_common.api_keys import MAX_TENANT_CHARACTERS
from sage_common.errors import UnavailableError
from sage_common.labels import is_label
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_common.trace_context import usable_traceparent
from sage_dataflow_worker.config import DataflowWorkerSettings
from sage_dataflow_worker.job import Claim, Job, JobState, claim, is_job_id
from sage_dataflow_worker.job_run import JobRun, RunTools
from sage_dataflow_worker.job_spans import job_span
from sage_dataflow_worker.job_store import StoredJob
from sage_dataflow_worker.job_streams import JOB_ID_HEADER, TENANT_HEADER, TRACEPARENT_HEADER, JobStreams
from sage_dataflow_worker.pipeline_admission import AdmittedPipeline
from sage_dataflow_worker.pipeline_reader import READER_KILLED
from sage_dataflow_worker.pipeline_texts import PipelineTexts
from sage_dataflow_worker.task_worker import TaskWorker
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.spec import PipelineSpec
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.ring import Ring

log = get_logger(__name__)

_FETCH_SECONDS = 5.0
_AFTER_ERROR_SECONDS = 1.0
# What keeps a process from starting, as want of memory does, seldom passes in less.
_READ_AGAIN_SECONDS = 3.0


class JobWorker:
    """Takes jobs from the work queue until stopped."""

    def __init__(
        self,
        ring: Ring,
        streams: JobStreams,
        texts: PipelineTexts,
        task_worker: TaskWorker,
        tools: RunTools,
        settings: DataflowWorkerSettings,
        worker_id: str,
        ended: Counter,
        running: Gauge,
    ) -> None:
        self._ring = ring
        self._streams = streams
        self._texts = texts
        self._task_worker = task_worker
        self._tools = tools
        self._settings = settings
        self._worker_id = worker_id
        self._ended = ended
        self._running_gauge = running
        self._runs: dict[str, JobRun] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._puller: asyncio.Task[None] | None = None
        self._cancels: Subscription | None = None

    async def start(self) -> None:
        """Listen for cancellations and pull jobs."""
        self._cancels = await self._ring.connection.subscribe(subjects.JOBS_CANCEL, cb=self._on_cancel)
        self._puller = keep_running(self._pull_forever, name="pull-jobs")

    async def stop(self) -> None:
        """Take no more jobs, give those that run some time, and hand the rest over to other workers."""
        if self._puller is not None:
            await end_tasks(self._puller)
        await self._stop_pulling()
        drain_until = asyncio.get_running_loop().time() + self._settings.drain_timeout_seconds
        if self._deliveries:
            await asyncio.wait(set(self._deliveries), timeout=self._settings.drain_timeout_seconds)
        await self._task_worker.stop(max(0.0, drain_until - asyncio.get_running_loop().time()))
        for run in list(self._runs.values()):
            run.hand_over()
        if self._deliveries:
            await asyncio.wait(set(self._deliveries))
        if self._cancels is not None:
            await self._cancels.unsubscribe()

    async def _on_cancel(self, message: Msg) -> None:
        run = self._runs.get(message.data.decode("utf-8", "replace"))
        if run is not None:
            run.reconcile()
        self._task_worker.reconcile()

    async def _pull_forever(self) -> None:
        while True:
            try:
                if self._subscription is None:
                    await self._streams.ensure()
                    self._subscription = await self._streams.pull()
                free = self._settings.max_jobs - len(self._deliveries)
                if free < 1:
                    self._freed.clear()
                    await self._freed.wait()
                    continue
                for message in await self._subscription.fetch(free, timeout=_FETCH_SECONDS):
                    task = asyncio.create_task(self._deliver(message), name="job-delivery")
                    self._deliveries.add(task)
                    task.add_done_callback(self._delivered)
            except asyncio.TimeoutError:
                continue  # no job came; nats.errors.TimeoutError is one of these
            except NatsError as error:
                # The stream or the consumer may be gone: both are made again if they are.
                log.warning("jobs cannot be pulled; trying again", error=str(error) or repr(error))
                await self._stop_pulling()
                await asyncio.sleep(_AFTER_ERROR_SECONDS)

    async def _stop_pulling(self) -> None:
        # The server keeps a pull request until it expires, and would send it the next job. Without a
        # subscription behind it the request is void.
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            try:
                await subscription.unsubscribe()
                await self._ring.connection.flush()
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("pulling not ended; the request expires", error=str(error) or repr(error))

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        self._freed.set()

    async def _deliver(self, message: Msg) -> None:
        try:
            while not await self._handle(message):
                pass  # another wrote the job meanwhile; read it again
        except (NatsError, asyncio.TimeoutError) as error:
            log.warning("a job was left; it will be delivered again", error=str(error) or repr(error))
        except Exception:
            log.exception("a job was left; it will be delivered again")

    async def _handle(self, message: Msg) -> bool:
        """Do what a delivery asks for. False: another wrote the job's state meanwhile."""
        sequence = message.metadata.sequence.stream
        job_id, id_error = _job_id(message, sequence)
        stored = await self._tools.store.get(job_id)
        decision = claim(stored.job if stored else None, sequence, self._settings.max_attempts)
        if decision is Claim.DROP:
            await message.ack_sync()
            return True
        job = self._job(message, job_id, stored)
        revision = stored.revision if stored else 0
        if decision is Claim.GIVE_UP:
            error = f"it was started {job.attempts} times and never ended; look at the workers' logs"
            await self._tools.dead_letters.job(job_id, message.data, error, job.attempts)
            return await self._refuse(message, job, revision, [error])
        # Counted before anything is done with the pipeline: the reading of it too may end this worker.
        started = replace(job, state=JobState.RUNNING, attempts=job.attempts + 1, waiting="")
        claimed = await self._tools.store.write(started, revision)
        if claimed is None:
            return False
        errors = [id_error] if id_error else []
        try:
            admitted = await self._admitted(message, job.tenant)
        except PipelineInvalidError as error:
            errors += [str(problem) for problem in error.problems]
        except UnavailableError as error:
            return await self._leave(message, claimed, error)
        if errors:
            # It was read to the end, and did not start.
            return await self._refuse(message, replace(claimed.job, attempts=job.attempts), claimed.revision, errors)
        named = replace(claimed.job, pipeline=admitted.spec.metadata.name, spec_hash=admitted.spec_hash)
        if named != claimed.job:
            written = await self._tools.store.write(named, claimed.revision)
            if written is None:
                return False  # it was cancelled, or another has it
            claimed = written
        await self._texts.keep(job_id, message.data)
        await self._run(message, claimed, admitted.spec)
        return True

    async def _admitted(self, message: Msg, tenant: str) -> AdmittedPipeline:
        """Have the pipeline read, and the message stay with this worker meanwhile.

        Raises:
            PipelineInvalidError, UnavailableError: as ``PipelineAdmission.admit`` does.
        """
        reading = asyncio.create_task(self._texts.admit(message.data, tenant), name="job-admission")
        try:
            while not reading.done():
                await message.in_progress()
                await asyncio.wait({reading}, timeout=self._settings.ack_wait_seconds / 3)
            return reading.result()
        finally:
            await end_tasks(reading)

    async def _leave(self, message: Msg, claimed: StoredJob, error: UnavailableError) -> bool:
        """Give the job back: its pipeline cannot be read here now. False: another wrote its state meanwhile."""
        job = claimed.job
        log.warning("job left: its pipeline cannot be read now", job=job.job_id, error=error.message)
        # Counted where the pipeline may be what has the reader killed, so that it is not tried for ever.
        attempts = job.attempts - (error.code != READER_KILLED)
        waiting = replace(job, state=JobState.PENDING, worker_id="", attempts=attempts, waiting=error.message)
        if not await self._tools.store.write(waiting, claimed.revision):
            return False
        await message.nak(delay=_READ_AGAIN_SECONDS)
        return True

    async def _refuse(self, message: Msg, job: Job, revision: int, errors: list[str]) -> bool:
        """End the job as failed. False: another wrote its state meanwhile."""
        failed = job.ended_as(JobState.FAILED, job.updated_unix_ms, tuple(errors))
        if not await self._tools.store.write(failed, revision):
            return False
        await message.ack_sync()
        self._ended.labels(outcome="refused").inc()
        log.info("job refused", job=job.job_id, errors=len(errors))
        return True

    async def _run(self, message: Msg, claimed: StoredJob, spec: PipelineSpec) -> None:
        job = claimed.job
        log.info("job started", job=job.job_id, pipeline=job.pipeline, attempt=job.attempts)
        run = self._runs[job.job_id] = JobRun(message, claimed, spec, self._tools)
        self._running_gauge.inc()
        with job_span(self._ring.tracer, job) as ended:
            try:
                outcome = await run.run()
            finally:
                self._running_gauge.dec()
                del self._runs[job.job_id]
            ended(outcome.value)
        self._ended.labels(outcome=outcome.value).inc()
        log.info("job ended", job=job.job_id, outcome=outcome.value)

    def _job(self, message: Msg, job_id: str, stored: StoredJob | None) -> Job:
        now_ms = self._tools.now_ms()
        sequence = message.metadata.sequence.stream
        if stored is not None:
            return replace(stored.job, updated_unix_ms=now_ms, worker_id=self._worker_id, message=sequence)
        created_ms = int(message.metadata.timestamp.timestamp() * 1000)
        tenant = (message.headers or {}).get(TENANT_HEADER, "")
        return Job(
            job_id,
            "",
            JobState.PENDING,
            created_ms,
            now_ms,
            worker_id=self._worker_id,
            message=sequence,
            tenant=tenant if is_label(tenant, MAX_TENANT_CHARACTERS) else DEFAULT_TENANT,
            traceparent=usable_traceparent((message.headers or {}).get(TRACEPARENT_HEADER, "")),
        )


def _job_id(message: Msg, sequence: int) -> tuple[str, str]:
    """Return the job's id and what is wrong with the one given, if anything. Without one the sequence makes it."""
    headers = message.headers or {}
    given = headers.get(JOB_ID_HEADER) or headers.get("Nats-Msg-Id") or ""
    own = f"job-{sequence}"
    if not given:
        return own, ""
    if is_job_id(given):
        return given, ""
    return own, (
        f"pipeline, header {JOB_ID_HEADER}: {given[:64]!r} cannot name a job; "
        "use letters, digits, '.', '_' and '-', at most 128"
    )
