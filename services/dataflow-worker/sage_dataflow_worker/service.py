"""gRPC ↔ domain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage.dataflow.v1 import dataflow_pb2_grpc
from sage_common.errors import ConflictError, NotFoundError
from sage_dataflow_worker.job import Job
from sage_dataflow_worker.job_api import JobApi
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_platform.grpc_access import current_caller

Context = aio.ServicerContext


class DataflowServicer(dataflow_pb2_grpc.DataflowServiceServicer):
    """The gRPC API."""

    def __init__(self, api: JobApi) -> None:
        self._api = api

    async def ValidatePipeline(  # noqa: N802 - the name in the contract
        self, request: pb.ValidatePipelineRequest, context: Context[Any, Any]
    ) -> pb.ValidatePipelineResponse:
        errors, spec_hash = await self._api.validate(request.pipeline)
        return pb.ValidatePipelineResponse(errors=errors, spec_hash=spec_hash)

    async def SubmitJob(  # noqa: N802
        self, request: pb.SubmitJobRequest, context: Context[Any, Any]
    ) -> pb.SubmitJobResponse:
        tenant = current_caller().acts_for(None) or DEFAULT_TENANT
        job = await self._api.submit(request.pipeline, request.job_id, tenant)
        if not current_caller().may_see(job.tenant):
            raise ConflictError(f"the id {request.job_id!r} is taken; choose another, or leave it out", param="job_id")
        return pb.SubmitJobResponse(job=_to_wire(job))

    async def GetJob(self, request: pb.GetJobRequest, context: Context[Any, Any]) -> pb.GetJobResponse:  # noqa: N802
        return pb.GetJobResponse(job=_to_wire(await self._own(request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context[Any, Any]) -> pb.ListJobsResponse:  # noqa: N802
        return pb.ListJobsResponse(jobs=[_to_wire(job) for job in self._api.newest(request.limit, _is_callers)])

    async def WatchJob(  # noqa: N802
        self, request: pb.WatchJobRequest, context: Context[Any, Any]
    ) -> AsyncIterator[pb.WatchJobResponse]:
        await self._own(request.job_id)
        async for job in self._api.watch(request.job_id):
            yield pb.WatchJobResponse(job=_to_wire(job))

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context[Any, Any]) -> pb.CancelJobResponse:  # noqa: N802
        await self._own(request.job_id)
        return pb.CancelJobResponse(job=_to_wire(await self._api.cancel(request.job_id)))

    async def _own(self, job_id: str) -> Job:
        """Return a job that is the caller's. Raises NotFoundError for another's too: nobody learns that it is there."""
        job = await self._api.get(job_id)
        if not _is_callers(job):
            raise NotFoundError(f"there is no job {job_id!r}; ListJobs shows those there are", param="job_id")
        return job


def _is_callers(job: Job) -> bool:
    return current_caller().may_see(job.tenant)


def _to_wire(job: Job) -> pb.Job:
    return pb.Job(
        job_id=job.job_id,
        pipeline=job.pipeline,
        state=job.state.value,  # type: ignore[arg-type]
        errors=job.errors,
        progress=[
            pb.NodeProgress(node_id=node, records_in=counts.records_in, records_out=counts.records_out)
            for node, counts in job.progress.items()
        ],
        worker_id=job.worker_id,
        created_unix_ms=job.created_unix_ms,
        updated_unix_ms=job.updated_unix_ms,
        spec_hash=job.spec_hash,
        attempts=job.attempts,
    )
