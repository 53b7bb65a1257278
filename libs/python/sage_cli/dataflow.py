"""The jobs of a mesh, as the command line reaches them: at the worker that is named, or at one of the registry's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from sage_cli.mesh.inspection import nats_settings
from sage_cli.mesh.registrations import Registrations, is_serving
from sage_cli.mesh.running_supervisor import local_state
from sage_cli.mesh.token import operator_token
from sage_cli.target import say_registry
from sage_cli.waiting import waiting
from sage_client.jobs.grpc_jobs import WORKER, GrpcJobs
from sage_client.jobs.job_views import JobEventView, JobView
from sage_client.jobs.jobs import Jobs
from sage_common.errors import InternalError, InvalidRequestError, SageError, UnavailableError
from sage_common.tasks import end_tasks
from sage_platform.registry import Instance

T = TypeVar("T")


async def ask(address: str | None, call: Callable[[Jobs], Awaitable[T]], *, says_mesh: bool = True) -> T:
    """Return what ``call`` does with the jobs of the mesh.

    Args:
        address: ``host:port`` of a dataflow worker; None finds one.
        says_mesh: say on stderr which mesh it is.
    """
    async with _jobs(address, says_mesh=says_mesh) as jobs:
        return await call(jobs)


async def follow_results(
    job_id: str, collection: str, address: str | None, tell: Callable[[str, list[Any]], None]
) -> dict[str, Any] | None:
    """Call ``tell`` with the records of a job as they are published; return its last message, None if it failed."""
    async with _jobs(address, follows=True) as jobs:
        async for piece in jobs.results(job_id, collection, follow=True):
            if piece.end is not None:
                return piece.end
            tell(piece.collection, list(piece.records))
    return None


async def follow_events(
    job_id: str, address: str | None, tell: Callable[[JobEventView], None], *, follow: bool, progress: bool, after: int
) -> None:
    """Call ``tell`` with what has happened to a job, and with ``follow`` with what happens until it has ended."""
    async with _jobs(address, follows=follow) as jobs:
        async for event in jobs.events(job_id, after=after, follow=follow, progress=progress):
            tell(event)


async def watch(
    job_id: str,
    address: str | None,
    tell: Callable[[JobView], None],
    tell_event: Callable[[JobEventView], None],
    *,
    says_mesh: bool = True,
) -> JobView:
    """Call ``tell`` with each state of a job, and ``tell_event`` with what happens to it from now on.

    Returns the job when it has ended.
    """
    job: JobView | None = None
    async with _jobs(address, follows=True, says_mesh=says_mesh) as jobs:
        events = asyncio.create_task(_tell_events(jobs, job_id, tell_event), name="follow-events")
        try:
            async for job in jobs.watch(job_id):
                tell(job)
        finally:
            await end_tasks(events)
    if job is None:
        raise InternalError(f"the worker sent no state of the job {job_id!r}; `sage job show {job_id}` asks again")
    return job


async def _tell_events(jobs: Jobs, job_id: str, tell: Callable[[JobEventView], None]) -> None:
    # Beside the states, which say what is wrong: a worker of an earlier version has no events.
    with contextlib.suppress(SageError):
        async for event in jobs.events(job_id, follow=True):
            tell(event)


@contextlib.asynccontextmanager
async def _jobs(address: str | None, *, follows: bool = False, says_mesh: bool = True) -> AsyncIterator[Jobs]:
    """Open the jobs at a worker; one whose job is followed shows itself what is waited for."""
    worker = _worker_at(address) if address else await _find_worker(says_mesh=says_mesh)

    async def only() -> list[Instance]:
        return [worker]

    with waiting() as display:
        jobs = GrpcJobs(only, operator_token(), None if follows else display.show)
        try:
            yield jobs
        finally:
            await jobs.close()


def _worker_at(address: str) -> Instance:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidRequestError(f"{address!r} is no address of a worker; write host:port")
    return Instance(WORKER, address, host, 0, int(port))


async def _find_worker(*, says_mesh: bool) -> Instance:
    state = local_state()
    settings = nats_settings(state)
    if says_mesh:
        say_registry(settings.url, runs_here=state is not None)
    registrations = Registrations(settings, "sage-job")
    try:
        for instance in await registrations.instances():
            if instance.service == WORKER and await is_serving(instance):
                return instance
    finally:
        await registrations.close()
    raise UnavailableError("no dataflow worker is registered; `sage status` shows what runs, `sage up` starts one")
