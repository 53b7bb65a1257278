"""The state of every job, in a JetStream key-value bucket. Changes are compare-and-set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nats.js.kv import KeyValue

from sage_common.errors import NotFoundError
from sage_dataflow_worker.job import Job, JobState
from sage_platform import subjects
from sage_platform.followed_bucket import FollowedBucket, Stored
from sage_platform.subjects import token


@dataclass(frozen=True)
class StoredJob:
    """A job and the revision under which it is stored."""

    job: Job
    revision: int


class JobObserver(Protocol):
    """Is told of what this process reads and writes of jobs."""

    def job_read(self, job: Job, revision: int) -> None: ...

    def job_written(self, job: Job, revision: int, previous_revision: int) -> None: ...


class JobStore:
    """Reads, writes and follows jobs.

    Args:
        bucket: the bucket ``jobs``.
    """

    def __init__(self, bucket: KeyValue, observer: JobObserver) -> None:
        self._observer = observer
        self._jobs = FollowedBucket(bucket, subjects.BUCKET_JOBS, Job.from_json)
        self.start = self._jobs.start
        self.stop = self._jobs.stop
        self.reconnected = self._jobs.reconnected
        self.on_change = self._jobs.on_change

    async def get(self, job_id: str) -> StoredJob | None:
        """Return a job, or None."""
        # What cannot be read is written over only at its own revision.
        stored = await self._jobs.get(token(job_id), lambda: _unreadable(job_id))
        if stored is not None:
            self._observer.job_read(stored.value, stored.revision)
        return _of(stored)

    async def require(self, job_id: str) -> StoredJob:
        """Return a job. Raises NotFoundError."""
        stored = await self.get(job_id) if job_id else None
        if stored is None:
            raise NotFoundError(f"there is no job {job_id!r}; ListJobs shows those there are", param="job_id")
        return stored

    async def write(self, job: Job, revision: int) -> StoredJob | None:
        """Store ``job`` if the stored revision is still ``revision`` (0: if there is none). None means it is not."""
        written = await self._jobs.write(token(job.job_id), job, job.to_json(), revision)
        if written is not None:
            self._observer.job_written(job, written.revision, revision)
        return _of(written)

    def latest(self, job_id: str) -> Job | None:
        """Return a job as it was last heard of, without asking the server."""
        stored = self._jobs.latest.get(token(job_id))
        return stored.value if stored else None

    def newest(self, limit: int, is_wanted: Callable[[Job], bool] = lambda _: True) -> list[Job]:
        """Return at most ``limit`` of the jobs that are wanted, newest first."""
        jobs = [stored.value for stored in self._jobs.latest.values() if is_wanted(stored.value)]
        jobs.sort(key=lambda job: (job.created_unix_ms, job.message, job.job_id), reverse=True)
        return jobs[:limit]

    def forget_older_than(self, unix_ms: int) -> None:
        """Drop from the list what was last changed before ``unix_ms``; the bucket has let it expire silently."""
        self._jobs.forget(lambda stored: stored.value.updated_unix_ms < unix_ms)

    async def after(self, job_id: str, revision: int) -> StoredJob:
        """Wait until ``job_id`` has a later revision and return it."""
        stored = await self._jobs.after(token(job_id), revision)
        return StoredJob(stored.value, stored.revision)


def _of(stored: Stored[Job] | None) -> StoredJob | None:
    return None if stored is None else StoredJob(stored.value, stored.revision)


def _unreadable(job_id: str) -> Job:
    """Stand for a job whose record cannot be read: it has failed, and says so."""
    error = "its record in the bucket of jobs cannot be read; submit the pipeline under another id"
    return Job(job_id, "", JobState.FAILED, 0, 0, errors=(error,))
