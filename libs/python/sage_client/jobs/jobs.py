"""What can be done with jobs, whichever way they are reached."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any, Protocol

from sage_client.jobs.job_views import (
    DeadLetters,
    JobEventView,
    JobExplanation,
    JobReplay,
    JobResumption,
    JobView,
    ResultPiece,
)
from sage_common.errors import InvalidRequestError


class Jobs(Protocol):
    """The verbs of jobs. Each raises NotFoundError for a job that is not the caller's, and UnavailableError where no
    dataflow worker answers."""

    async def submit(self, pipeline: object, job_id: str = "", *, tenant: str = "") -> JobView:
        """Submit a pipeline: YAML or JSON text, or what has ``to_yaml``. One that is not valid is a failed job.

        Args:
            job_id: submitting an id twice runs it once; empty makes one.
            tenant: whose job it is; empty for the caller's own.

        Raises:
            InvalidRequestError: ``job_id`` cannot name a job, or it is no pipeline.
            ContendedError: too many jobs wait.
        """

    async def get(self, job_id: str) -> JobView:
        """Return a job."""

    async def list_jobs(self, limit: int = 0) -> list[JobView]:
        """Return at most ``limit`` (0: 100) jobs, newest first."""

    def watch(self, job_id: str) -> AsyncIterator[JobView]:
        """Yield a job now and after each change until it has ended."""

    def events(
        self, job_id: str, *, after: int = 0, follow: bool = False, progress: bool = False
    ) -> AsyncIterator[JobEventView]:
        """Yield what has happened to a job behind the sequence ``after``, oldest first, as far as it is kept.

        Where ``watch`` tells where a job is, this tells how it came there: also what was over between two looks, and
        before anyone looked.

        Args:
            follow: go on until the job has ended.
            progress: yield counts too, as they were about twice a second.
        """

    async def cancel(self, job_id: str) -> JobView:
        """Cancel a job; one that has ended stays as it is."""

    async def pause(self, job_id: str) -> JobView:
        """Stop a job's tasks, each behind a checkpoint. Raises ConflictError where it neither runs nor waits."""

    async def resume(self, job_id: str, pipeline: object = "", *, only_plan: bool = False) -> JobResumption:
        """Let a paused or failed job go on from its checkpoints.

        Args:
            pipeline: a changed one that goes on in its place; empty for its own.
            only_plan: only say what would be kept.

        Raises:
            ConflictError: the job, or its checkpoints, forbid it.
            InvalidRequestError: the changed pipeline is not valid.
        """

    async def savepoint(self, job_id: str) -> JobView:
        """Have every task of a running job take a checkpoint. Raises ConflictError where it does not run."""

    async def explain(self, job_id: str) -> JobExplanation:
        """Return a job's tasks, where each is, and why there."""

    def results(
        self, job_id: str, collection: str = "", *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[ResultPiece]:
        """Yield what a job has published to its collections behind the sequence ``after``, in order.

        With ``follow`` it goes on until the job has ended. Only a job that has succeeded has a piece with ``end``.
        """

    async def dead_letters(self, job_id: str, node: str = "", *, limit: int = 0, after: int = 0) -> DeadLetters:
        """Return at most ``limit`` (0: 100) records that failed, those behind the sequence ``after``, oldest first."""

    async def replay(self, job_id: str, node: str = "", *, new_job_id: str = "") -> JobReplay:
        """Submit the records that failed at a node as a new job of what follows from that node on.

        Raises:
            ConflictError: they cannot be replayed; the message says why and what to do.
        """

    async def close(self) -> None:
        """Release the connections."""


def pipeline_text(pipeline: Any) -> str:
    """Return a pipeline as YAML or JSON. Raises InvalidRequestError for what is none."""
    if isinstance(pipeline, str):
        return pipeline
    if not hasattr(pipeline, "to_yaml"):
        kind = type(pipeline).__name__
        raise InvalidRequestError(f"a {kind} is no pipeline; give YAML, JSON, a sage.Pipeline or a spec")
    return str(pipeline.to_yaml())


def new_job_id_of(job_id: str) -> str:
    """Return the id of a new job: the one given, or one that is made here.

    Asking a second time, since no answer came, then runs the job once.
    """
    return job_id or f"job-{secrets.token_hex(8)}"
