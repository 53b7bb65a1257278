"""One task on this worker: takes its lease, runs the graph over its splits, and stops when its job says so."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from enum import Enum
from typing import Any

from nats.errors import Error as NatsError

from sage_common.errors import SageError, UnavailableError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_dataflow_worker.job import Job, JobState, NodeProgress
from sage_dataflow_worker.job_spans import job_span
from sage_dataflow_worker.job_task import JobTask, TaskState
from sage_dataflow_worker.pipeline_admission import AdmittedPipeline
from sage_dataflow_worker.pipeline_reader import READER_KILLED
from sage_dataflow_worker.results import LeaseLostError, TaskResults
from sage_dataflow_worker.task_checkpoints import TaskCheckpoints
from sage_dataflow_worker.task_context import task_context
from sage_dataflow_worker.task_knowledge import TaskKnowledge
from sage_dataflow_worker.task_stage import TaskStage, stage_nodes, stage_of
from sage_dataflow_worker.task_store import StoredTask
from sage_dataflow_worker.task_tools import LEASE_TTL_SECONDS, TaskTools
from sage_kernel.problems import NodeFailedError
from sage_kernel.run_context import Skipped
from sage_kernel.runtime.elements import END_OF_TIME_US, START_OF_TIME_US
from sage_kernel.runtime.executor import Execution, ExecutionOptions
from sage_kernel.runtime.fenced_sink import TakenOverError
from sage_kernel.runtime.progress import NodeCounts
from sage_platform import subjects
from sage_platform.leases import Leadership

log = get_logger(__name__)

# A lease that its last holder has just given back is free at once; one that lapses is not.
_TAKE_LEASE_SECONDS = LEASE_TTL_SECONDS + 2.0
_MOST_NOTES = 1000


class TaskOutcome(Enum):
    """How a run of a task ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PAUSED = "paused"
    # Its job has ended meanwhile.
    DROPPED = "dropped"
    # Another worker has it, or its lease could not be had or kept.
    LOST = "lost"
    HANDED_OVER = "handed over"


class TaskRun:
    """Runs a task that is placed on this worker."""

    def __init__(self, stored: StoredTask, tools: TaskTools) -> None:
        self._stored = stored
        self._tools = tools
        self._gained: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._lost = asyncio.Event()
        self._look = asyncio.Event()
        self._hands_over = False
        self._counts: dict[str, NodeCounts] = {}
        self._before: dict[str, NodeProgress] = {}
        self._stage = TaskStage({})
        self._skipped: list[Skipped] = []
        self._warnings: list[tuple[str, str]] = []
        self._results: TaskResults | None = None
        self._checkpoints: TaskCheckpoints | None = None

    @property
    def task(self) -> JobTask:
        """The task as this worker has written it last."""
        return self._stored.value

    def reconcile(self) -> None:
        """Look at the job's state now."""
        self._look.set()

    def hand_over(self) -> None:
        """Stop behind a checkpoint, for another worker to go on."""
        self._hands_over = True
        self._look.set()

    async def run(self) -> TaskOutcome:
        """Run to the end and record it. Raises nats.errors.Error, asyncio.TimeoutError when NATS was away."""
        task = self.task
        lease = Leadership(
            self._tools.leases,
            subjects.task_key(task.job_id, task.number),
            self._tools.worker_id,
            clock=self._tools.clock,
            on_gained=lambda epoch: None if self._gained.done() else self._gained.set_result(epoch),
            on_lost=self._lost.set,
            ttl_seconds=LEASE_TTL_SECONDS,
        )
        lease.start()
        try:
            try:
                epoch = await asyncio.wait_for(asyncio.shield(self._gained), _TAKE_LEASE_SECONDS)
            except asyncio.TimeoutError:
                log.warning("task left: its lease is held", job=task.job_id, task=task.number)
                await self._write(replace(task, state=TaskState.WAITING, worker_id=""))
                return TaskOutcome.LOST
            return await self._run_under(epoch, lease)
        except LeaseLostError:
            return TaskOutcome.LOST
        except SageError as error:
            return await self._ended(error)
        finally:
            await lease.stop()

    async def _run_under(self, epoch: int, lease: Leadership) -> TaskOutcome:
        tools, task = self._tools, self.task
        # Counted before it begins: what it does may end this worker.
        started = replace(task, state=TaskState.RUNNING, epoch=epoch, attempts=task.attempts + 1)
        if not await self._write(started):
            return TaskOutcome.LOST
        job = await tools.jobs.get(task.job_id)
        if job is None or job.job.state is not JobState.RUNNING:
            return await self._stopped(TaskOutcome.DROPPED, job.job if job else None)
        with job_span(tools.tracer, job.job, task.number) as ended:
            outcome = await self._run_job(job.job, task, epoch, lease)
            ended(outcome.value)
        return outcome

    async def _run_job(self, job: Job, task: JobTask, epoch: int, lease: Leadership) -> TaskOutcome:
        tools = self._tools
        try:
            admitted = await tools.texts.admitted(task.job_id)
        except UnavailableError as error:
            return await self._leave(error)
        self._counts = {node_id: NodeCounts() for node_id in stage_nodes(admitted.spec.nodes, task.role)}
        checkpoints = self._checkpoints = TaskCheckpoints(
            tools.checkpoints, tools.checkpoint_dir, task.job_id, task.number, epoch, self._progress
        )
        results = self._results = TaskResults(tools.js, task.job_id, task.number)
        await asyncio.gather(checkpoints.open(), results.open(is_first=task.epoch == 0 and job.resumes == 0))
        if checkpoints.pointer.file:
            self._before = checkpoints.pointer.progress
        async with contextlib.aclosing(TaskKnowledge(tools.knowledge, job.tenant)) as knowledge:
            execution = await self._execution(admitted, job, results, checkpoints, lease, knowledge)
            work = asyncio.create_task(execution.run(), name=f"task-{task.job_id}-{task.number}")
            try:
                outcome = await self._watch(work, execution)
            finally:
                await end_tasks(work)
        if outcome is not None:
            stored = await tools.jobs.get(task.job_id)
            return await self._stopped(outcome, stored.job if stored else None)
        return await self._ended(work.exception())

    async def _execution(
        self,
        admitted: AdmittedPipeline,
        job: Job,
        results: TaskResults,
        checkpoints: TaskCheckpoints,
        lease: Leadership,
        knowledge: TaskKnowledge,
    ) -> Execution:
        tools, task, spec = self._tools, self.task, admitted.spec
        context = task_context(
            task, job, admitted, results, tools, knowledge,
            warn=lambda node, message: _note(self._warnings, (node, message)),
            skip=lambda skipped: _note(self._skipped, skipped),
        )  # fmt: skip
        stage = self._stage = await stage_of(task, spec.nodes, context, tools.checkpoint_dir)
        # Beside the pipeline's own nodes there may be sources of what other tasks have handed over.
        counts = {node_id: self._counts.get(node_id) or NodeCounts() for node_id in stage.nodes}
        options = ExecutionOptions(
            checkpoints=checkpoints,
            checkpoint_seconds=spec.settings.checkpoint_interval / 1e6,
            splits=task.splits,
            replaced=stage.replaced,
            may_write=lambda: lease.may_act,
            memory=tools.memory,
        )
        return Execution(stage.nodes, admitted.spec_hash, context, counts, options)

    async def _watch(self, work: asyncio.Task[bool], execution: Execution) -> TaskOutcome | None:
        """Write progress and follow the job's state until the work has ended (None) or must stop."""
        tools = self._tools
        while True:
            waits = [asyncio.create_task(self._look.wait()), asyncio.create_task(self._lost.wait())]
            try:
                await asyncio.wait({work, *waits}, timeout=tools.interval_seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end_tasks(*waits)
            if self._lost.is_set():
                return TaskOutcome.LOST
            if work.done():
                return None
            self._look.clear()
            job = tools.jobs.latest(self.task.job_id)
            if job is not None and job.state.ended:
                return TaskOutcome.DROPPED
            if self._hands_over or (job is not None and job.state is JobState.PAUSED):
                await self._stop_behind_checkpoint(work, execution)
                return TaskOutcome.HANDED_OVER if self._hands_over else TaskOutcome.PAUSED
            try:
                if job is not None and job.savepoint > self.task.savepoint:
                    await execution.savepoint()
                    await self._write(replace(self._with_progress(), savepoint=job.savepoint))
                elif self._with_progress() != self.task and not await self._write(self._with_progress()):
                    return TaskOutcome.LOST
            except (NatsError, asyncio.TimeoutError, OSError) as error:
                log.warning("progress not written; trying again", error=str(error) or repr(error))

    async def _stop_behind_checkpoint(self, work: asyncio.Task[bool], execution: Execution) -> None:
        # A graph that does not come to it in time, or ends meanwhile, goes on from the one before.
        stopping = asyncio.create_task(execution.stop_with_savepoint(), name="stop-with-savepoint")
        await asyncio.wait({stopping}, timeout=LEASE_TTL_SECONDS)
        if stopping.done() and (error := stopping.exception()) is not None:
            log.warning("no checkpoint before the stop", error=str(error) or repr(error))
        await end_tasks(stopping, work)

    async def _ended(self, error: BaseException | None) -> TaskOutcome:
        if error is None:
            await self._write(replace(self._with_progress(), state=TaskState.SUCCEEDED))
            return TaskOutcome.SUCCEEDED
        cause = error.cause if isinstance(error, NodeFailedError) else error
        if isinstance(cause, TakenOverError):
            return TaskOutcome.LOST
        if isinstance(cause, NatsError | asyncio.TimeoutError):
            # The mesh's own trouble and not the pipeline's: it goes on from its checkpoint when NATS is back.
            log.warning("task stopped: NATS does not answer", job=self.task.job_id, task=self.task.number)
            waiting = replace(self._with_progress(), state=TaskState.WAITING, worker_id="")
            await self._write(replace(waiting, attempts=self.task.attempts - 1))
            return TaskOutcome.LOST
        if not isinstance(error, SageError):
            log.error("task failed unexpectedly", job=self.task.job_id, task=self.task.number, exc_info=error)
        message = str(error) or repr(error)
        await self._write(replace(self._with_progress(), state=TaskState.FAILED, errors=(message,)))
        return TaskOutcome.FAILED

    async def _leave(self, error: UnavailableError) -> TaskOutcome:
        """Give the task back: what reads its pipeline is not to be had here. It may be elsewhere, or later."""
        log.warning("task left: its pipeline cannot be read now", job=self.task.job_id, task=self.task.number,
                    error=error.message)  # fmt: skip
        # Counted where the pipeline may be what has the reader killed, so that it is not tried for ever.
        attempts = self.task.attempts - (error.code != READER_KILLED)
        left = replace(self.task, state=TaskState.WAITING, worker_id="", attempts=attempts, left=error.message)
        await self._write(left)
        return TaskOutcome.LOST

    async def _stopped(self, outcome: TaskOutcome, job: Job | None) -> TaskOutcome:
        if outcome is TaskOutcome.LOST:
            return outcome
        state = TaskState.PAUSED if outcome is TaskOutcome.PAUSED else TaskState.WAITING
        attempts = max(0, self.task.attempts - 1) if outcome is TaskOutcome.HANDED_OVER else 0
        stopped = replace(self._with_progress(), state=state, worker_id="", attempts=attempts)
        with contextlib.suppress(NatsError, asyncio.TimeoutError):
            await self._write(stopped)
        return outcome

    def _progress(self) -> dict[str, NodeProgress]:
        """Return the counts by node, those of earlier runs up to the checkpoint included."""
        progress = {}
        for node_id, counts in self._counts.items():
            before = self._before.get(node_id, NodeProgress(0, 0))
            progress[node_id] = NodeProgress(
                before.records_in + (0 if node_id in self._stage.counted_before else counts.records_in),
                before.records_out + counts.records_out,
                before.records_failed + counts.records_failed,
                watermark_unix_ms=_watermark_ms(counts.watermark_us),
            )
        return progress

    def _with_progress(self) -> JobTask:
        task = self.task
        checkpoint = self._checkpoints.pointer.number if self._checkpoints else task.checkpoint
        return replace(
            task,
            progress=self._progress() or task.progress,
            collections=self._results.published() if self._results else task.collections,
            skipped=tuple(map(tuple, self._skipped)),
            warnings=tuple(map(tuple, self._warnings)),
            checkpoint=checkpoint,
            # It has come further than the last start did.
            attempts=1 if checkpoint > task.checkpoint else task.attempts,
        )

    async def _write(self, task: JobTask) -> bool:
        """Write the task's state. False: it is another's."""
        while True:
            written = await self._tools.tasks.write(task, self._stored.revision)
            if written is not None:
                self._stored = written
                return True
            stored = await self._tools.tasks.get(task.job_id, task.number)
            own = self._stored.value
            if stored is None or (stored.value.worker_id, stored.value.epoch) not in (
                (own.worker_id, own.epoch),
                (task.worker_id, task.epoch),
            ):
                return False
            if stored.value == task:
                self._stored = stored
                return True
            # An own write was stored whose answer was lost.
            self._stored = stored


def _watermark_ms(watermark_us: int | None) -> int | None:
    """Return a watermark in milliseconds; None for those before the first record and behind the last."""
    if watermark_us is None or not START_OF_TIME_US < watermark_us < END_OF_TIME_US:
        return None
    return watermark_us // 1000


def _note(notes: list[Any], note: object) -> None:
    if len(notes) < _MOST_NOTES:
        notes.append(note)
