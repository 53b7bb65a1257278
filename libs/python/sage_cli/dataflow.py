"""Talking to a dataflow worker over gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Any, cast

import grpc
import orjson

from sage.dataflow.v1 import dataflow_pb2, dataflow_pb2_grpc
from sage_cli.mesh.inspection import nats_settings
from sage_cli.mesh.registrations import Registrations, is_serving
from sage_cli.mesh.running_supervisor import local_state
from sage_cli.mesh.token import operator_token
from sage_cli.target import say_registry
from sage_cli.waiting import waiting
from sage_client.jobs.job_messages import job_view
from sage_client.jobs.job_messages import state_name as state_name
from sage_client.wait_notice import notice_of
from sage_common.errors import InternalError, UnavailableError
from sage_platform.grpc_server import channel
from sage_platform.grpc_status import error_from_status

CALL_SECONDS = 30.0
SERVICE = "dataflow-worker"


async def submit(pipeline: str, job_id: str, address: str | None) -> dataflow_pb2.Job:
    """Submit a pipeline, YAML or JSON."""
    async with _worker(address) as stub:
        request = dataflow_pb2.SubmitJobRequest(pipeline=pipeline, job_id=job_id)
        answer: dataflow_pb2.SubmitJobResponse = await stub.SubmitJob(request, timeout=CALL_SECONDS)
        return answer.job


async def get(job_id: str, address: str | None) -> dataflow_pb2.Job:
    """Return a job. Raises NotFoundError."""
    async with _worker(address) as stub:
        request = dataflow_pb2.GetJobRequest(job_id=job_id)
        answer: dataflow_pb2.GetJobResponse = await stub.GetJob(request, timeout=CALL_SECONDS)
        return answer.job


async def list_jobs(limit: int, address: str | None) -> list[dataflow_pb2.Job]:
    """Return jobs, newest first."""
    async with _worker(address) as stub:
        return list((await stub.ListJobs(dataflow_pb2.ListJobsRequest(limit=limit), timeout=CALL_SECONDS)).jobs)


async def cancel(job_id: str, address: str | None) -> dataflow_pb2.Job:
    """Cancel a job."""
    async with _worker(address) as stub:
        request = dataflow_pb2.CancelJobRequest(job_id=job_id)
        answer: dataflow_pb2.CancelJobResponse = await stub.CancelJob(request, timeout=CALL_SECONDS)
        return answer.job


async def pause(job_id: str, address: str | None) -> dataflow_pb2.Job:
    """Pause a job behind checkpoints."""
    async with _worker(address) as stub:
        request = dataflow_pb2.PauseJobRequest(job_id=job_id)
        return cast(dataflow_pb2.Job, (await stub.PauseJob(request, timeout=CALL_SECONDS)).job)


async def savepoint(job_id: str, address: str | None) -> dataflow_pb2.Job:
    """Have every task of a job take a checkpoint."""
    async with _worker(address) as stub:
        request = dataflow_pb2.SavepointJobRequest(job_id=job_id)
        return cast(dataflow_pb2.Job, (await stub.SavepointJob(request, timeout=CALL_SECONDS)).job)


async def resume(job_id: str, pipeline: str, address: str | None, *, only_plan: bool) -> dataflow_pb2.ResumeJobResponse:
    """Let a job go on from its checkpoints, or say what of them would be kept."""
    async with _worker(address) as stub:
        request = dataflow_pb2.ResumeJobRequest(job_id=job_id, pipeline=pipeline, only_plan=only_plan)
        return cast(dataflow_pb2.ResumeJobResponse, await stub.ResumeJob(request, timeout=CALL_SECONDS))


async def explain(
    job_id: str, address: str | None, *, says_mesh: bool = True
) -> dataflow_pb2.ExplainJobResponse:
    """Return where the tasks of a job are, and why."""
    async with _worker(address, says_mesh=says_mesh) as stub:
        request = dataflow_pb2.ExplainJobRequest(job_id=job_id)
        return cast(dataflow_pb2.ExplainJobResponse, await stub.ExplainJob(request, timeout=CALL_SECONDS))


async def dead_letters(job_id: str, node: str, limit: int, address: str | None) -> dataflow_pb2.ListDeadLettersResponse:
    """Return the records of a job that failed, oldest first."""
    async with _worker(address) as stub:
        request = dataflow_pb2.ListDeadLettersRequest(job_id=job_id, node_id=node, limit=limit)
        return cast(dataflow_pb2.ListDeadLettersResponse, await stub.ListDeadLetters(request, timeout=CALL_SECONDS))


async def replay(
    job_id: str, node: str, new_job_id: str, address: str | None
) -> dataflow_pb2.ReplayDeadLettersResponse:
    """Submit the records that failed at a node as a new job."""
    async with _worker(address) as stub:
        request = dataflow_pb2.ReplayDeadLettersRequest(job_id=job_id, node_id=node, new_job_id=new_job_id)
        answer = await stub.ReplayDeadLetters(request, timeout=CALL_SECONDS)
        return cast(dataflow_pb2.ReplayDeadLettersResponse, answer)


async def follow_results(
    job_id: str, collection: str, address: str | None, tell: Callable[[str, list[Any]], None]
) -> dict[str, Any] | None:
    """Call ``tell`` with the records of a job as they are published; return its last message, None if it failed."""
    async with _worker(address, follows=True) as stub:
        request = dataflow_pb2.ReadResultsRequest(job_id=job_id, collection=collection, follow=True)
        async for piece in stub.ReadResults(request):
            if not piece.collection:
                return cast(dict[str, Any], orjson.loads(piece.json))
            tell(piece.collection, orjson.loads(piece.json))
    return None


async def watch(
    job_id: str, address: str | None, tell: Callable[[dataflow_pb2.Job], None], *, says_mesh: bool = True
) -> dataflow_pb2.Job:
    """Call ``tell`` with each state of a job; return the last one when the job has ended."""
    job: dataflow_pb2.Job | None = None
    async with _worker(address, follows=True, says_mesh=says_mesh) as stub:
        async for answer in stub.WatchJob(dataflow_pb2.WatchJobRequest(job_id=job_id)):
            job = answer.job
            tell(job)
    if job is None:
        raise InternalError(f"the worker sent no state of the job {job_id!r}; `sage job show {job_id}` asks again")
    return job


def to_json(job: dataflow_pb2.Job) -> dict[str, Any]:
    """Return a job as plain values, as the management API gives it."""
    return asdict(job_view(job))


def succeeded(job: dataflow_pb2.Job) -> bool:
    """Whether every record went through."""
    return job.state == dataflow_pb2.JOB_STATE_SUCCEEDED


def failed(job: dataflow_pb2.Job) -> bool:
    """Whether it has ended with errors; a pipeline that is not valid does so at once."""
    return job.state == dataflow_pb2.JOB_STATE_FAILED


@contextlib.asynccontextmanager
async def _worker(address: str | None, *, follows: bool = False, says_mesh: bool = True) -> AsyncIterator[Any]:
    """Open a worker; one whose job is followed shows itself what is waited for."""
    target = address or await _find_worker(says_mesh=says_mesh)

    async def worker() -> str:
        return f"the dataflow worker at {target}"

    with waiting() as display:
        async with (
            channel(target, token=operator_token()) as open_channel,
            notice_of(worker, None if follows else display.show),
        ):
            with _translated(target):
                yield dataflow_pb2_grpc.DataflowServiceStub(open_channel)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _translated(target: str) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise error_from_status(error, "dataflow worker", target) from None


async def _find_worker(*, says_mesh: bool) -> str:
    state = local_state()
    settings = nats_settings(state)
    if says_mesh:
        say_registry(settings.url, runs_here=state is not None)
    registrations = Registrations(settings, "sage-job")
    try:
        for instance in await registrations.instances():
            if instance.service == SERVICE and await is_serving(instance):
                return instance.grpc_address
    finally:
        await registrations.close()
    raise UnavailableError("no dataflow worker is registered; `sage status` shows what runs, `sage up` starts one")
