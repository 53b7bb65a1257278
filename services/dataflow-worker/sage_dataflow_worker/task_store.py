"""The tasks of every job, in a JetStream key-value bucket. Changes are compare-and-set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nats.js.kv import KeyValue

from sage_dataflow_worker.job_task import JobTask
from sage_platform import subjects
from sage_platform.followed_bucket import FollowedBucket, Stored

StoredTask = Stored[JobTask]


class TaskObserver(Protocol):
    """Is told of what this process reads and writes of tasks."""

    def task_read(self, task: JobTask, revision: int) -> None: ...

    def task_written(self, task: JobTask, revision: int, previous_revision: int) -> None: ...


class TaskStore:
    """Reads, writes and follows tasks.

    Args:
        bucket: the bucket ``tasks``.
    """

    def __init__(self, bucket: KeyValue, observer: TaskObserver) -> None:
        self._observer = observer
        self._tasks = FollowedBucket(bucket, subjects.BUCKET_TASKS, JobTask.from_json)
        self.start = self._tasks.start
        self.stop = self._tasks.stop
        self.reconnected = self._tasks.reconnected

    async def get(self, job_id: str, number: int) -> StoredTask | None:
        """Return a task, or None."""
        stored = await self._tasks.get(subjects.task_key(job_id, number))
        if stored is not None:
            self._observer.task_read(stored.value, stored.revision)
        return stored

    async def write(self, task: JobTask, revision: int) -> StoredTask | None:
        """Store ``task`` if the stored revision is still ``revision`` (0: if there is none). None means it is not."""
        key = subjects.task_key(task.job_id, task.number)
        written = await self._tasks.write(key, task, task.to_json(), revision)
        if written is not None:
            self._observer.task_written(task, written.revision, revision)
        return written

    def latest(self, job_id: str, number: int) -> StoredTask | None:
        """Return a task as it was last heard of."""
        stored = self._tasks.latest.get(subjects.task_key(job_id, number))
        if stored is not None:
            self._observer.task_read(stored.value, stored.revision)
        return stored

    def all(self) -> list[JobTask]:
        """Return every task as it was last heard of."""
        return [stored.value for stored in self._tasks.latest.values()]

    def of_job(self, job_id: str) -> list[JobTask]:
        """Return the tasks of a job as they were last heard of, in order."""
        return sorted((task for task in self.all() if task.job_id == job_id), key=lambda task: task.number)

    def on_change(self, call: Callable[[JobTask], None]) -> Callable[[], None]:
        """Call ``call`` with every task that changes; return what ends that."""

        def changed(key: str) -> None:
            stored = self._tasks.latest.get(key)
            if stored is not None:
                call(stored.value)

        return self._tasks.on_change(changed)
