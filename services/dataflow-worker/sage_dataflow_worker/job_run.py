"""One job that this worker coordinates: keeps its message and progress up to date, and stops when another owns it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import tenacity
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from sage_common.clock import Clock
from sage_common.errors import SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_dataflow_worker.coordination import Coordination, CoordinationTools, TaskFailedError
from sage_dataflow_worker.dead_letters import DeadLetters
from sage_dataflow_worker.job import Job, JobState
from sage_dataflow_worker.job_store import JobStore, StoredJob
from sage_dataflow_worker.results import JobEnd
from sage_kernel.spec import PipelineSpec
from sage_platform.background import keep_running

log = get_logger(__name__)


class Outcome(Enum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    # Another worker has taken it over, since this one was silent for too long.
    LOST = "lost"
    # This worker stops and gives it back.
    HANDED_OVER = "handed over"
    # Its message is dealt with; another one takes it up again.
    PAUSED = "paused"


@dataclass(frozen=True)
class RunTools:
    """What every run of a worker uses.

    Attributes:
        ended: called when a job has ended for good.
        ack_wait_seconds: silence after which the message goes to another worker.
        interval_seconds: between readings of the job's stored state.
        now_ms: milliseconds since 1970-01-01 UTC.
    """

    store: JobStore
    coordination: CoordinationTools
    dead_letters: DeadLetters
    job_end: JobEnd
    ack_wait_seconds: float
    interval_seconds: float
    clock: Clock
    now_ms: Callable[[], int]
    ended: Callable[[str], None] = lambda job_id: None


class JobRun:
    """Coordinates a claimed job.

    Args:
        message: the delivery that carries the job.
        stored: the job as this worker wrote it when it claimed it.
    """

    def __init__(self, message: Msg, stored: StoredJob, spec: PipelineSpec, tools: RunTools) -> None:
        self._message = message
        self._stored = stored
        self._tools = tools
        self._coordination = Coordination(stored.job, spec, tools.coordination)
        self._is_planned = False
        self._planned = asyncio.Event()
        self._reconcile_due = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._stopped_as: Outcome | None = None

    def reconcile(self) -> None:
        """Read the stored state now: the job may have been cancelled."""
        self._reconcile_due.set()

    def hand_over(self) -> None:
        """Stop and give the job back, for another worker to run from its start."""
        self._stop(Outcome.HANDED_OVER)

    async def run(self) -> Outcome:
        """Run to the end, record it and acknowledge the message.

        Raises:
            nats.errors.Error, asyncio.TimeoutError: NATS was away at the end; the message will be delivered again.
        """
        self._work = asyncio.create_task(self._run_and_publish(), name=f"job-{self._stored.job.job_id}")
        if self._stopped_as is not None:
            self._work.cancel()
        keeping_alive = keep_running(self._keep_alive, name=f"keep-alive-{self._stored.job.job_id}")
        try:
            await asyncio.wait({self._work})
        finally:
            await end_tasks(keeping_alive, self._work)
        if self._work.cancelled():
            return await self._after_stop(self._stopped_as or Outcome.LOST)
        error = self._work.exception()
        if error is None:
            return await self._end(JobState.SUCCEEDED, (), Outcome.SUCCEEDED)
        errors = error.errors if isinstance(error, TaskFailedError) else (str(error) or repr(error),)
        if isinstance(error, TaskFailedError) and error.gave_up:
            job = self._stored.job
            await self._tools.dead_letters.job(job.job_id, self._message.data, errors[0], job.attempts)
        elif not isinstance(error, SageError):
            log.error("job failed unexpectedly", job=self._stored.job.job_id, exc_info=error)
        return await self._end(JobState.FAILED, errors, Outcome.FAILED)

    async def _run_and_publish(self) -> None:
        await self._coordination.prepare()
        self._is_planned = True
        self._reconcile_due.set()
        while not self._stored.job.tasks:
            # What keeps the message alive writes the job's state, and stops this where it cannot.
            self._planned.clear()
            await self._planned.wait()
        tasks = await self._coordination.run()
        job = self._stored.job
        await self._tools.job_end.publish(job.job_id, job.spec_hash, tasks)

    def _stop(self, outcome: Outcome) -> None:
        if self._stopped_as is None:
            self._stopped_as = outcome
        if self._work is not None:
            self._work.cancel()

    async def _keep_alive(self) -> None:
        tools = self._tools
        third = tools.ack_wait_seconds / 3
        interval = min(tools.interval_seconds, third)
        reported_at = tools.clock.now()
        while True:
            # Due at once when asked for, and at every interval in any case.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._reconcile_due.wait(), interval)
            self._reconcile_due.clear()
            try:
                if tools.clock.now() - reported_at + interval >= third:
                    await self._message.in_progress()
                    reported_at = tools.clock.now()
                await self._refresh()
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("job state not refreshed; trying again", error=str(error) or repr(error))

    async def _refresh(self) -> None:
        stored = await self._tools.store.get(self._stored.job.job_id)
        if stored is None or not self._is_ours(stored.job):
            self._stop(_outcome_of(stored.job if stored else None))
            return
        # The revision alone says nothing: an own write may have been stored without its answer reaching us.
        self._stored = stored
        current = self._with_progress(stored.job)
        if current != replace(stored.job, updated_unix_ms=current.updated_unix_ms):
            written = await self._tools.store.write(current, stored.revision)
            if written is None:
                self._reconcile_due.set()
            else:
                self._stored = written
                self._planned.set()

    def _is_ours(self, job: Job) -> bool:
        """Whether this run owns ``job``. Others write it only to end it or to take it over."""
        own = self._stored.job
        return (job.worker_id, job.attempts, job.state) == (own.worker_id, own.attempts, JobState.RUNNING)

    def _with_progress(self, job: Job) -> Job:
        if not self._is_planned:
            return replace(job, updated_unix_ms=self._tools.now_ms())
        coordination = self._coordination
        return replace(
            job,
            progress=coordination.progress(),
            waiting=coordination.waiting(),
            tasks=len(coordination.tasks),
            plan=coordination.plan_reason,
            updated_unix_ms=self._tools.now_ms(),
        )

    async def _end(self, state: JobState, errors: tuple[str, ...], outcome: Outcome) -> Outcome:
        ended = self._with_progress(self._stored.job).ended_as(state, self._tools.now_ms(), errors)
        stored = await self._write_with_retries(ended)
        if stored is not None and stored.job == ended:
            await self._message.ack_sync()
            if state is JobState.SUCCEEDED:
                self._tools.ended(ended.job_id)
            return outcome
        return await self._after_stop(_outcome_of(stored.job if stored else None))

    async def _after_stop(self, outcome: Outcome) -> Outcome:
        if outcome is Outcome.CANCELLED or outcome is Outcome.PAUSED:
            await self._message.ack_sync()
            if outcome is Outcome.CANCELLED:
                self._tools.ended(self._stored.job.job_id)
        elif outcome is Outcome.HANDED_OVER:
            waiting = replace(self._with_progress(self._stored.job), state=JobState.PENDING, worker_id="")
            stored = await self._write_with_retries(waiting)
            if stored is not None and stored.job == waiting:
                await self._message.nak()
        # A lost job's message must not be acknowledged: that would end it for its new owner too.
        return outcome

    async def _write_with_retries(self, job: Job) -> StoredJob | None:
        """Write, again while NATS is away for a short time; return what is stored then: ``job``, or another's."""
        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_delay(self._tools.ack_wait_seconds / 2),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=1.0),
            retry=tenacity.retry_if_exception_type((NatsError, asyncio.TimeoutError)),
            reraise=True,
        )
        return await attempts(self._write_unless_taken, job)

    async def _write_unless_taken(self, job: Job) -> StoredJob | None:
        while True:
            written = await self._tools.store.write(job, self._stored.revision)
            if written is not None:
                return written
            stored = await self._tools.store.get(job.job_id)
            if stored is None or not self._is_ours(stored.job):
                return stored
            # An own write was stored whose answer was cut off: by NATS going away, or by the run's end.
            self._stored = stored


def _outcome_of(job: Job | None) -> Outcome:
    """Say what has become of a job that is this worker's no more."""
    if job is None or job.state.ended:
        return Outcome.CANCELLED
    return Outcome.PAUSED if job.state is JobState.PAUSED else Outcome.LOST
