"""The state of every job, in a JetStream key-value bucket. Changes are compare-and-set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from nats.errors import Error as NatsError
from nats.js.errors import KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from sage_common.errors import NotFoundError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_dataflow_worker.job import Job, JobState
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.kv import decoded_or_none
from sage_platform.subjects import token

log = get_logger(__name__)

_WATCH_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class StoredJob:
    """A job and the revision under which it is stored."""

    job: Job
    revision: int


class JobStore:
    """Reads and writes jobs, and follows all of them with one watcher, however many callers watch.

    Args:
        bucket: the bucket ``jobs``.
    """

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self._latest: dict[str, StoredJob] = {}
        self._changed = asyncio.Condition()
        self._follower: asyncio.Task[None] | None = None
        self._watch_again = asyncio.Event()

    async def start(self) -> None:
        """Follow the bucket."""
        self._follower = keep_running(self._follow, name="follow-jobs")

    async def stop(self) -> None:
        """Stop following."""
        if self._follower is not None:
            await end_tasks(self._follower)

    def reconnected(self) -> None:
        """Open a new watcher: the server may have lost the old one."""
        self._watch_again.set()

    async def get(self, job_id: str) -> StoredJob | None:
        """Return a job, or None."""
        try:
            entry = await self._bucket.get(token(job_id))
        except (KeyNotFoundError, KeyDeletedError):
            return None
        job = decoded_or_none(subjects.BUCKET_JOBS, entry.key, entry.value or b"", Job.from_json)
        # Not None: what cannot be read is written over only at its own revision.
        return StoredJob(job or _unreadable(job_id), int(entry.revision or 0))

    async def require(self, job_id: str) -> StoredJob:
        """Return a job. Raises NotFoundError."""
        stored = await self.get(job_id) if job_id else None
        if stored is None:
            raise NotFoundError(f"there is no job {job_id!r}; ListJobs shows those there are", param="job_id")
        return stored

    async def write(self, job: Job, revision: int) -> StoredJob | None:
        """Store ``job`` if the stored revision is still ``revision`` (0: if there is none). None means it is not."""
        try:
            new_revision = await self._bucket.update(token(job.job_id), job.to_json(), last=revision)
        except KeyWrongLastSequenceError:
            return None
        return StoredJob(job, new_revision)

    def newest(self, limit: int, is_wanted: Callable[[Job], bool] = lambda _: True) -> list[Job]:
        """Return at most ``limit`` of the jobs that are wanted, newest first."""
        jobs = [stored.job for stored in self._latest.values() if is_wanted(stored.job)]
        jobs.sort(key=lambda job: (job.created_unix_ms, job.message, job.job_id), reverse=True)
        return jobs[:limit]

    def forget_older_than(self, unix_ms: int) -> None:
        """Drop from the list what was last changed before ``unix_ms``; the bucket has let it expire silently."""
        self._latest = {key: s for key, s in self._latest.items() if s.job.updated_unix_ms >= unix_ms}

    async def after(self, job_id: str, revision: int) -> StoredJob:
        """Wait until ``job_id`` has a later revision and return it."""
        key = token(job_id)

        def later() -> bool:
            return key in self._latest and self._latest[key].revision > revision

        async with self._changed:
            await self._changed.wait_for(later)
            return self._latest[key]

    async def _follow(self) -> None:
        while True:
            watcher: KeyValue.KeyWatcher | None = None
            try:
                self._watch_again.clear()
                watcher = await self._bucket.watchall()
                await self._take_until_asked_again(watcher)
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("jobs cannot be followed; trying again", error=str(error) or repr(error))
                await asyncio.sleep(_WATCH_AGAIN_SECONDS)
            finally:
                if watcher is not None:
                    await self._end(watcher)

    async def _take_until_asked_again(self, watcher: KeyValue.KeyWatcher) -> None:
        asked = asyncio.create_task(self._watch_again.wait())
        taking = asyncio.create_task(self._take_all(watcher))
        try:
            await asyncio.wait({asked, taking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(asked, taking)
        if not taking.cancelled():
            taking.result()

    async def _take_all(self, watcher: KeyValue.KeyWatcher) -> None:
        async for entry in watcher:
            if entry is not None:  # None: every stored job has been read
                await self._take(entry)

    async def _take(self, entry: KeyValue.Entry) -> None:
        async with self._changed:
            job = None
            if entry.operation is None:
                job = decoded_or_none(subjects.BUCKET_JOBS, entry.key, entry.value or b"", Job.from_json)
            if job is None:
                self._latest.pop(entry.key, None)
            else:
                self._latest[entry.key] = StoredJob(job, int(entry.revision or 0))
            self._changed.notify_all()

    async def _end(self, watcher: KeyValue.KeyWatcher) -> None:
        try:
            await watcher.stop()  # type: ignore[no-untyped-call]
        except NatsError as error:
            log.debug("watcher was gone already", error=str(error))


def _unreadable(job_id: str) -> Job:
    """Stand for a job whose record cannot be read: it has failed, and says so."""
    error = "its record in the bucket of jobs cannot be read; submit the pipeline under another id"
    return Job(job_id, "", JobState.FAILED, 0, 0, errors=(error,))
