"""Coordinates one job: makes its tasks, places them on workers, places those again whose worker died, sums them up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from nats.errors import Error as NatsError
from nats.js.errors import KeyDeletedError, KeyNotFoundError, NoStreamResponseError, NotFoundError
from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_common.errors import UnprocessableError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_dataflow_worker.job import Job, NodeProgress
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.job_task import JobTask, TaskState, summed_progress
from sage_dataflow_worker.node_directory import NodeDirectory
from sage_dataflow_worker.source_splits import SourceParts, record_counts
from sage_dataflow_worker.task_store import StoredTask, TaskStore
from sage_kernel.operator import CountedSource
from sage_kernel.placement.node_selection import select_worker
from sage_kernel.placement.resources import needs_of
from sage_kernel.placement.tasks import TaskRole, plan_tasks
from sage_kernel.spec import PipelineSpec
from sage_platform import subjects

log = get_logger(__name__)

LOOK_SECONDS = 0.25
# How long a task that was placed may take to be taken, before it goes elsewhere.
TAKE_SECONDS = 2.0
# A lease that is missing for so long is taken for lapsed; its bucket may just have been made again.
LAPSED_SECONDS = 0.5
# How long a worker that lost a task, or cannot run it for now, is given no other of its job.
AVOID_SECONDS = 10.0
SAY_WAITING_AFTER_SECONDS = 2.0


@dataclass(frozen=True)
class CoordinationTools:
    """What every coordination of a worker uses.

    Attributes:
        leases: the bucket of task leases.
        parts_of: opens the sources of a graph, and returns what they hold.
        strategy: how workers are scored.
        max_attempts: starts of a task, with no checkpoint between them, after which its job fails.
    """

    jobs: JobStore
    tasks: TaskStore
    nodes: NodeDirectory
    leases: KeyValue
    parts_of: Callable[[PipelineSpec, Job], Awaitable[SourceParts]]
    strategy: str
    max_attempts: int
    worker_id: str
    clock: Clock


class TaskFailedError(UnprocessableError):
    """A task of the job has failed; ``errors`` says why, and ``gave_up`` that it never came to an end."""

    def __init__(self, errors: tuple[str, ...], *, gave_up: bool = False) -> None:
        super().__init__(errors[0] if errors else "a task failed")
        self.errors = errors
        self.gave_up = gave_up


class Coordination:
    """Drives the tasks of a job to their end."""

    def __init__(self, job: Job, spec: PipelineSpec, tools: CoordinationTools) -> None:
        self._job = job
        self._spec = spec
        self._tools = tools
        self._known: dict[int, StoredTask] = {}
        self._due = asyncio.Event()
        self._since: dict[int, float] = {}
        self._avoided: dict[str, tuple[float, str]] = {}
        self._reasons: dict[int, tuple[float, str]] = {}
        self._counted: Mapping[str, CountedSource] = {}
        # What was counted before another worker took over.
        self._totals = {name: c.records_total for name, c in job.progress.items() if c.records_total is not None}
        self.plan_reason = job.plan

    @property
    def tasks(self) -> list[JobTask]:
        """The tasks as they were last heard of, in order."""
        return [self._known[number].value for number in sorted(self._known)]

    def progress(self) -> dict[str, NodeProgress]:
        """Return progress by node over all tasks, with the totals of sources as far as they are known."""
        progress = summed_progress(self.tasks)
        return {name: replace(counts, records_total=self._totals.get(name)) for name, counts in progress.items()}

    def waiting(self) -> str:
        """Return why a task does not start, once that has been so for a while; empty where none waits."""
        oldest = self._tools.clock.now() - SAY_WAITING_AFTER_SECONDS
        for number, (since, reason) in sorted(self._reasons.items()):
            if since <= oldest:
                return f"task {number}: {reason}"
        return ""

    async def run(self) -> list[JobTask]:
        """Return the tasks when all of them have succeeded. Cancel it to stop coordinating; tasks that run go on.

        Raises:
            TaskFailedError: a task failed, or was started too often.
        """
        stop_following = self._tools.tasks.on_change(self._on_task)
        counting = asyncio.create_task(self._count(), name=f"count-sources-{self._job.job_id}")
        try:
            while True:
                self._due.clear()
                try:
                    await self._reconcile()
                except (NatsError, asyncio.TimeoutError) as error:
                    log.warning("tasks not looked after; trying again", error=str(error) or repr(error))
                if all(task.state is TaskState.SUCCEEDED for task in self.tasks):
                    return self.tasks
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._due.wait(), LOOK_SECONDS)
        finally:
            stop_following()
            await end_tasks(counting)

    async def _count(self) -> None:
        """Count what the sources hold. Footers of ten thousand files take a while, so nothing waits for it."""
        self._totals |= await record_counts(self._counted)

    def _on_task(self, task: JobTask) -> None:
        if task.job_id == self._job.job_id:
            self._due.set()

    async def prepare(self) -> None:
        """Take up the tasks that there are, or make them. The job is to say how many there are before they are run.

        Raises:
            TaskFailedError: a task is kept no more.
            SageError: a source could not be opened.
        """
        job_id = self._job.job_id
        first = await self._tools.tasks.get(job_id, 0)
        if first is not None and self._job.tasks:
            for number in range(self._job.tasks):
                stored = await self._tools.tasks.get(job_id, number)
                if stored is None:
                    error = f"task {number} of {self._job.tasks} is kept no more; submit the job again"
                    raise TaskFailedError((error,))
                self._known[number] = stored
                if stored.value.resumes < self._job.resumes and stored.value.state is not TaskState.SUCCEEDED:
                    again = replace(stored.value, state=TaskState.WAITING, attempts=0, errors=())
                    await self._write(number, replace(again, resumes=self._job.resumes), stored.revision)
            return
        parts = await self._tools.parts_of(self._spec, self._job)
        self._counted = parts.counted
        plan = plan_tasks(self._spec.nodes, parts.splits, self._tools.nodes.total_slots())
        self.plan_reason = plan.reason
        needs = needs_of(self._spec.nodes.values())
        for planned in plan.tasks:
            shared = dict(planned.splits)
            task = JobTask(job_id, planned.number, shared, planned.role, needs=needs, resumes=self._job.resumes)
            while True:
                stored = await self._tools.tasks.get(job_id, planned.number)
                # A coordinator that died before the job said how many tasks it has left some behind.
                written = await self._tools.tasks.write(task, stored.revision if stored else 0)
                if written is not None:
                    self._known[planned.number] = written
                    break

    async def _reconcile(self) -> None:
        for number in self._known:
            heard = self._tools.tasks.latest(self._job.job_id, number)
            if heard is not None and heard.revision > self._known[number].revision:
                if heard.value.left:
                    self._avoided[self._known[number].value.worker_id] = self._tools.clock.now(), heard.value.left
                self._known[number] = heard
        for number, stored in list(self._known.items()):
            task = stored.value
            if task.state is TaskState.FAILED:
                raise TaskFailedError(task.errors)
            if task.state is TaskState.RUNNING or task.state is TaskState.PLACED:
                await self._check_lease(number, stored)
            elif not task.state.ended and (task.role is not TaskRole.MERGE or self._is_handed_over()):
                await self._place(number, stored)

    def _is_handed_over(self) -> bool:
        """Whether every task has ended that one merges the results of."""
        before = [task for task in self.tasks if task.role is TaskRole.SPLIT]
        return all(task.state is TaskState.SUCCEEDED for task in before)

    async def _check_lease(self, number: int, stored: StoredTask) -> None:
        """Take a task back whose worker does not hold its lease."""
        now = self._tools.clock.now()
        task = stored.value
        if await self._is_leased(task):
            self._since.pop(number, None)
            return
        since = self._since.setdefault(number, now)
        patience = LAPSED_SECONDS if task.state is TaskState.RUNNING else TAKE_SECONDS
        if now - since < patience:
            return
        log.warning("task taken back from its worker", job=task.job_id, task=number, worker=task.worker_id)
        self._avoided[task.worker_id] = now, "it has just lost a task"
        left = f"worker {task.worker_id} holds its lease no more"
        await self._write(number, replace(task, state=TaskState.WAITING, worker_id="", left=left), stored.revision)

    async def _is_leased(self, task: JobTask) -> bool:
        try:
            await self._tools.leases.get(subjects.task_key(task.job_id, task.number))
        except (KeyNotFoundError, KeyDeletedError, NotFoundError, NoStreamResponseError):
            return False
        return True

    async def _place(self, number: int, stored: StoredTask) -> None:
        task, tools = stored.value, self._tools
        now = tools.clock.now()
        if task.attempts >= tools.max_attempts:
            error = f"task {number} was started {task.attempts} times and never ended; look at the workers' logs"
            raise TaskFailedError((error,), gave_up=True)
        if await self._is_leased(task):
            return  # its last holder is about to give it back
        avoided = {worker: reason for worker, (since, reason) in self._avoided.items() if now - since < AVOID_SECONDS}
        workers = tools.nodes.workers(self._everyones_tasks())
        placement = select_worker(task.needs, workers, tools.strategy, preferred=tools.worker_id, excluded=avoided)
        if placement.worker_id is None:
            since, _ = self._reasons.get(number, (now, ""))
            self._reasons[number] = (since, placement.reason)
            if task.placement != placement:
                await self._write(number, replace(task, placement=placement), stored.revision)
            return
        self._reasons.pop(number, None)
        self._since.pop(number, None)
        placed = replace(task, state=TaskState.PLACED, worker_id=placement.worker_id, placement=placement, left="")
        if task.role is TaskRole.MERGE:
            before = tuple((known.number, known.epoch) for known in self.tasks if known.role is TaskRole.SPLIT)
            placed = replace(placed, handed_over=before)
        await self._write(number, placed, stored.revision)

    def _everyones_tasks(self) -> list[JobTask]:
        """Return the tasks of all jobs that go on, the own ones as they are known here."""
        tasks = [stored.value for stored in self._known.values()]
        for task in self._tools.tasks.all():
            job = self._tools.jobs.latest(task.job_id)
            if task.job_id != self._job.job_id and job is not None and not job.state.ended:
                tasks.append(task)
        return tasks

    async def _write(self, number: int, task: JobTask, revision: int) -> None:
        written = await self._tools.tasks.write(task, revision)
        if written is None:
            written = await self._tools.tasks.get(task.job_id, number)
        if written is not None:
            self._known[number] = written
