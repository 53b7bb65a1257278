"""Pausing, resuming and saving jobs, and saying where their tasks are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from nats.aio.client import Client
from nats.js.kv import KeyValue

from sage_common.errors import ConflictError
from sage_dataflow_worker.job import Job, JobState
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.job_task import JobTask, TaskState
from sage_dataflow_worker.pipeline_admission import AdmittedPipeline
from sage_dataflow_worker.pipeline_texts import PipelineTexts
from sage_dataflow_worker.resumptions import Resumptions
from sage_dataflow_worker.task_checkpoints import TaskCheckpoints, read_pointer
from sage_dataflow_worker.task_stage import resumed_nodes
from sage_dataflow_worker.task_store import TaskStore
from sage_dataflow_worker.task_tools import LEASE_TTL_SECONDS
from sage_kernel.placement.stages import cut_of
from sage_kernel.placement.tasks import TaskRole, partitioned_sources
from sage_kernel.state.checkpoint import Checkpoint
from sage_kernel.state.resume_plan import plan_resume
from sage_platform import subjects

# A task has one lease's time to come to its checkpoint. One whose worker is dead says no more, and cannot act either.
_STOP_SECONDS = 2 * LEASE_TTL_SECONDS


class JobControl:
    """Changes what is to become of a job, through the shared state: any worker does it for every job.

    Args:
        checkpoints: the bucket ``checkpoints``.
        checkpoint_dir: where their files are.
    """

    def __init__(
        self,
        connection: Client,
        resumptions: Resumptions,
        jobs: JobStore,
        tasks: TaskStore,
        texts: PipelineTexts,
        checkpoints: KeyValue,
        checkpoint_dir: Path,
        now_ms: Callable[[], int],
    ) -> None:
        self._connection = connection
        self._resumptions = resumptions
        self._jobs = jobs
        self._tasks = tasks
        self._texts = texts
        self._checkpoints = checkpoints
        self._checkpoint_dir = checkpoint_dir
        self._now_ms = now_ms

    async def pause(self, job_id: str) -> Job:
        """Have the tasks of a job stop, each behind a checkpoint, and return when they have.

        A task that does not answer is waited for until its worker may act on it no longer. Raises NotFoundError,
        ConflictError.
        """

        def paused(job: Job) -> Job:
            if job.state not in (JobState.PENDING, JobState.RUNNING, JobState.PAUSED):
                raise ConflictError(f"job {job_id!r} is {job.state.name.lower()}; only one that runs can be paused")
            return replace(job, state=JobState.PAUSED, waiting="", updated_unix_ms=self._now_ms())

        job = await self._change(job_id, paused)
        # The state alone stops them at their next reading; this makes them read now.
        await self._connection.publish(subjects.JOBS_CANCEL, job_id.encode())
        await self._until_stopped(job_id)
        return job

    async def savepoint(self, job_id: str) -> Job:
        """Have every task of a job take a checkpoint now. Raises NotFoundError, ConflictError."""

        def asked(job: Job) -> Job:
            if job.state is not JobState.RUNNING:
                raise ConflictError(f"job {job_id!r} is {job.state.name.lower()}; a savepoint is of one that runs")
            return replace(job, savepoint=job.savepoint + 1, updated_unix_ms=self._now_ms())

        return await self._change(job_id, asked)

    async def resume(self, job_id: str, pipeline: str = "", *, only_plan: bool = False) -> tuple[Job, list[str]]:
        """Let a paused or failed job go on, and return it with what becomes of its checkpoints, one node a line.

        Args:
            pipeline: what goes on in place of the job's own; empty for that.
            only_plan: change nothing.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it is in a state that cannot go on, or the new pipeline cannot go on from its checkpoints.
            PipelineInvalidError: the new pipeline is wrong.
            ContendedError: too many pipelines wait to be read.
        """
        job = (await self._jobs.require(job_id)).job
        if not only_plan:
            _require_resumable(job, job)
        text = await self._texts.text(job_id)
        old = new = await self._texts.admit(text, job.tenant, has_caller=True)
        if pipeline:
            new = await self._texts.admit(pipeline.encode("utf-8", "surrogatepass"), job.tenant, has_caller=True)
        if not only_plan:
            # What still stops writes one more checkpoint, which is the one to go on from.
            await self._until_stopped(job_id)
            # Of several orders one goes on from here, before anything of the job is written.
            job = await self._change(job_id, partial(_claimed, job))
        lines = await self._carry_over(job, old, new, only_plan=only_plan)
        if only_plan:
            return job, lines
        if pipeline:
            text = pipeline.encode("utf-8", "surrogatepass")
            await self._texts.keep(job_id, text)

        def waiting(current: Job) -> Job:
            _require_resumable(current, job)
            return replace(
                current,
                state=JobState.PENDING,
                # Whichever message carries it next: it is published only when the state says that it may be taken.
                message=0,
                errors=(),
                attempts=0,
                spec_hash=new.spec_hash,
                updated_unix_ms=self._now_ms(),
            )

        resumed = await self._change(job_id, waiting)
        try:
            submission = await self._resumptions.send(resumed, text)
        except BaseException:

            def undone(current: Job) -> Job:
                """As it was, unless it was given another order meanwhile."""
                is_ours = current.state is JobState.PENDING and current.resumes == resumed.resumes
                return replace(current, state=job.state, errors=job.errors) if is_ours else current

            await self._change(job_id, undone)
            raise
        await self._resumptions.note(resumed, submission)
        return resumed, lines

    async def explain(self, job_id: str) -> tuple[Job, list[JobTask]]:
        """Return a job and its tasks, each with why it is where it is. Raises NotFoundError."""
        job = (await self._jobs.require(job_id)).job
        return job, self._tasks.of_job(job_id)

    async def _until_stopped(self, job_id: str) -> None:
        changed = asyncio.Event()

        def heard(task: JobTask) -> None:
            if task.job_id == job_id:
                changed.set()

        async def stopped() -> None:
            while any(task.state is TaskState.RUNNING for task in self._tasks.of_job(job_id)):
                changed.clear()
                await changed.wait()

        forget = self._tasks.on_change(heard)
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stopped(), _STOP_SECONDS)
        finally:
            forget()

    async def _carry_over(
        self, job: Job, old: AdmittedPipeline, new: AdmittedPipeline, *, only_plan: bool
    ) -> list[str]:
        """Say what becomes of the checkpoints; unless it is only a plan, write them for the new pipeline."""
        tasks = self._tasks.of_job(job.job_id)
        names, reason = partitioned_sources(new.spec.nodes)
        cuts = cut_of(new.spec.nodes).nodes
        for task in tasks:
            if task.splits and set(task.splits) != names:
                raise ConflictError(
                    f"the job's tasks share out the sources {sorted(task.splits)}, the new pipeline would share out "
                    f"{sorted(names) or f'none ({reason})'}; submit it as a new job"
                )
        if any(task.role is TaskRole.MERGE for task in tasks) and not cuts:
            raise ConflictError(
                "the job's tasks hand over parts to one that merges them, and the new pipeline has nothing to merge; "
                "submit it as a new job"
            )
        lines: list[str] = []
        carried: list[tuple[TaskCheckpoints, Checkpoint, Checkpoint]] = []
        for task in tasks:
            prefix = f"task {task.number}: " if len(tasks) > 1 else ""
            pointer, _ = await read_pointer(self._checkpoints, subjects.task_key(job.job_id, task.number))
            kept = TaskCheckpoints(
                self._checkpoints,
                self._checkpoint_dir,
                job.job_id,
                task.number,
                pointer.epoch,
                partial(dict, pointer.progress),
            )
            await kept.open()
            checkpoint = await kept.latest()
            if checkpoint is None:
                lines.append(f"{prefix}it has no checkpoint, and begins at its beginning")
                continue
            before, after = (resumed_nodes(pipeline.spec.nodes, task.role) for pipeline in (old, new))
            plan = plan_resume(checkpoint, before, after, cuts if task.role is TaskRole.SPLIT else frozenset())
            lines += [f"{prefix}{node.node}: {node.fate.value}: {node.reason}" for node in plan.nodes]
            if not only_plan:
                carried.append((kept, checkpoint, plan.apply(checkpoint, new.spec_hash)))
        # Behind the loop: where one task cannot go on, the checkpoints of the others stay what they are.
        for kept, checkpoint, applied in carried:
            if applied.spec_hash != checkpoint.spec_hash:
                await kept.save(replace(applied, number=checkpoint.number + 1))
        return lines

    async def _change(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        while True:
            stored = await self._jobs.require(job_id)
            written = await self._jobs.write(change(stored.job), stored.revision)
            if written is not None:
                return written.job


def _claimed(seen: Job, current: Job) -> Job:
    """Return the job with one more resumption. Raises ConflictError as ``_require_resumable`` does."""
    _require_resumable(current, seen)
    return replace(current, resumes=seen.resumes + 1)


def _require_resumable(current: Job, seen: Job) -> None:
    """Raise ConflictError where a job cannot go on, or another order has had it go on since it was ``seen``."""
    if current.state not in (JobState.PAUSED, JobState.FAILED) or current.resumes != seen.resumes:
        raise ConflictError(
            f"job {current.job_id!r} is {current.state.name.lower()}; one that is paused or has failed can be resumed"
        )
