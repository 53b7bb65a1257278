"""Jobs for code that is not asynchronous."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, cast

from sage_client.jobs.job_views import (
    DeadLetters,
    JobEventView,
    JobExplanation,
    JobReplay,
    JobResumption,
    JobView,
    ResultPiece,
)
from sage_client.loop_thread import LoopThread

if TYPE_CHECKING:
    from sage_client.jobs.jobs import Jobs


class SyncJobs:
    """``Jobs``, each of whose verbs waits for its answer; any thread may use it. See there for what each does."""

    def __init__(self, jobs: Jobs, loop: LoopThread) -> None:
        self._jobs = jobs
        self._loop = loop

    def submit(self, pipeline: object, job_id: str = "", *, tenant: str = "") -> JobView:
        """Submit a pipeline; one that is not valid is a failed job."""
        return self._loop.call(self._jobs.submit(pipeline, job_id, tenant=tenant))

    def get(self, job_id: str) -> JobView:
        """Return a job."""
        return self._loop.call(self._jobs.get(job_id))

    def list_jobs(self, limit: int = 0) -> list[JobView]:
        """Return at most ``limit`` (0: 100) jobs, newest first."""
        return self._loop.call(self._jobs.list_jobs(limit))

    def watch(self, job_id: str) -> Generator[JobView, None, None]:
        """Yield a job now and after each change until it has ended."""
        return self._loop.iterate(cast(AsyncGenerator[JobView, None], self._jobs.watch(job_id)))

    def events(
        self, job_id: str, *, after: int = 0, follow: bool = False, progress: bool = False
    ) -> Generator[JobEventView, None, None]:
        """Yield what has happened to a job, and with ``follow`` what happens until it has ended."""
        events = self._jobs.events(job_id, after=after, follow=follow, progress=progress)
        return self._loop.iterate(cast(AsyncGenerator[JobEventView, None], events))

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job; one that has ended stays as it is."""
        return self._loop.call(self._jobs.cancel(job_id))

    def pause(self, job_id: str) -> JobView:
        """Stop a job's tasks, each behind a checkpoint."""
        return self._loop.call(self._jobs.pause(job_id))

    def resume(self, job_id: str, pipeline: object = "", *, only_plan: bool = False) -> JobResumption:
        """Let a paused or failed job go on from its checkpoints, or only say what of them would be kept."""
        return self._loop.call(self._jobs.resume(job_id, pipeline, only_plan=only_plan))

    def savepoint(self, job_id: str) -> JobView:
        """Have every task of a running job take a checkpoint."""
        return self._loop.call(self._jobs.savepoint(job_id))

    def explain(self, job_id: str) -> JobExplanation:
        """Return a job's tasks, where each is, and why there."""
        return self._loop.call(self._jobs.explain(job_id))

    def results(
        self, job_id: str, collection: str = "", *, after: int = 0, follow: bool = False
    ) -> Generator[ResultPiece, None, None]:
        """Yield what a job has published, and with ``follow`` what it publishes until it has ended."""
        pieces = self._jobs.results(job_id, collection, after=after, follow=follow)
        return self._loop.iterate(cast(AsyncGenerator[ResultPiece, None], pieces))

    def dead_letters(self, job_id: str, node: str = "", *, limit: int = 0, after: int = 0) -> DeadLetters:
        """Return records that failed, oldest first."""
        return self._loop.call(self._jobs.dead_letters(job_id, node, limit=limit, after=after))

    def replay(self, job_id: str, node: str = "", *, new_job_id: str = "") -> JobReplay:
        """Submit the records that failed at a node as a new job of what follows from that node on."""
        return self._loop.call(self._jobs.replay(job_id, node, new_job_id=new_job_id))
