"""Runs the tasks that coordinators place on this worker, no more than it has slots for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge

from sage_common.logging import get_logger
from sage_dataflow_worker.job_task import JobTask, TaskState
from sage_dataflow_worker.task_run import TaskRun
from sage_dataflow_worker.task_tools import TaskTools
from sage_platform import subjects

log = get_logger(__name__)


class TaskWorker:
    """Takes tasks until stopped.

    Args:
        slots: most tasks at once.
    """

    def __init__(self, tools: TaskTools, slots: int, ended: Counter, running: Gauge) -> None:
        self._tools = tools
        self._slots = slots
        self._ended = ended
        self._running_gauge = running
        self._runs: dict[str, TaskRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        tools.tasks.on_change(self._on_task)
        tools.jobs.on_change(self._on_job)

    @property
    def running(self) -> int:
        """Tasks that run now."""
        return len(self._runs)

    def reconcile(self) -> None:
        """Let every task look at its job's state now."""
        for run in self._runs.values():
            run.reconcile()

    async def stop(self, drain_seconds: float) -> None:
        """Take no more tasks, give those that run some time, and hand the rest over behind a checkpoint."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=drain_seconds)
        for run in list(self._runs.values()):
            run.hand_over()
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _on_job(self, key: str) -> None:
        for run in self._runs.values():
            if subjects.token(run.task.job_id) == key:
                run.reconcile()

    def _on_task(self, task: JobTask) -> None:
        key = subjects.task_key(task.job_id, task.number)
        if task.state is TaskState.PLACED and task.worker_id == self._tools.worker_id and key not in self._runs:
            work = asyncio.create_task(self._take(key, task), name=f"take-{key}")
            self._tasks.add(work)
            work.add_done_callback(self._tasks.discard)

    async def _take(self, key: str, task: JobTask) -> None:
        try:
            stored = await self._tools.tasks.get(task.job_id, task.number)
            if stored is None or stored.value.state is not TaskState.PLACED or key in self._runs:
                return
            if stored.value.worker_id != self._tools.worker_id:
                return
            if self._stopping or len(self._runs) >= self._slots:
                # Two coordinators have placed tasks here at the same time, or it is about to stop.
                await self._tools.tasks.write(
                    replace(stored.value, state=TaskState.WAITING, worker_id=""), stored.revision
                )
                return
            run = self._runs[key] = TaskRun(stored, self._tools)
        except (NatsError, asyncio.TimeoutError) as error:
            log.warning("task not taken; its coordinator places it again", task=key, error=str(error) or repr(error))
            return
        self._running_gauge.inc()
        try:
            outcome = await run.run()
            self._ended.labels(outcome=outcome.value).inc()
            log.info("task ended", job=task.job_id, task=task.number, outcome=outcome.value)
        except (NatsError, asyncio.TimeoutError) as error:
            log.warning("task left; it is placed again", task=key, error=str(error) or repr(error))
        except Exception:
            log.exception("task left; it is placed again", task=key)
        finally:
            self._running_gauge.dec()
            del self._runs[key]
        # It may have been placed here again while it was ending.
        latest = self._tools.tasks.latest(task.job_id, task.number)
        if latest is not None:
            self._on_task(latest.value)
