"""gRPC ↔ domain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
from grpc import aio

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage.dataflow.v1 import dataflow_pb2_grpc
from sage_common.errors import ConflictError, NotFoundError
from sage_dataflow_worker.job import Job, NodeProgress
from sage_dataflow_worker.job_api import JobApi
from sage_dataflow_worker.job_control import JobControl
from sage_dataflow_worker.job_event import JobEvent
from sage_dataflow_worker.job_history import JobHistory
from sage_dataflow_worker.job_records import JobRecords, KeptLetter
from sage_dataflow_worker.job_task import JobTask
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_platform.grpc_access import current_caller
from sage_platform.jetstream_access import reaching_jetstream

Context = aio.ServicerContext


class DataflowServicer(dataflow_pb2_grpc.DataflowServiceServicer):
    """The gRPC API."""

    def __init__(self, api: JobApi, control: JobControl, records: JobRecords, history: JobHistory) -> None:
        self._api = api
        self._control = control
        self._records = records
        self._history = history

    async def ValidatePipeline(  # noqa: N802 - the name in the contract
        self, request: pb.ValidatePipelineRequest, context: Context[Any, Any]
    ) -> pb.ValidatePipelineResponse:
        tenant = current_caller().acts_for(None) or DEFAULT_TENANT
        errors, spec_hash = await self._api.validate(request.pipeline, tenant)
        return pb.ValidatePipelineResponse(errors=errors, spec_hash=spec_hash)

    async def SubmitJob(  # noqa: N802
        self, request: pb.SubmitJobRequest, context: Context[Any, Any]
    ) -> pb.SubmitJobResponse:
        tenant = current_caller().acts_for(request.tenant or None) or DEFAULT_TENANT
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

    async def ReadEvents(  # noqa: N802
        self, request: pb.ReadEventsRequest, context: Context[Any, Any]
    ) -> AsyncIterator[pb.ReadEventsResponse]:
        await self._own(request.job_id)
        events = self._history.events(request.job_id, request.after, follow=request.follow, progress=request.progress)
        with reaching_jetstream():
            async for sequence, event in events:
                yield pb.ReadEventsResponse(event=_event_to_wire(sequence, event))

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context[Any, Any]) -> pb.CancelJobResponse:  # noqa: N802
        await self._own(request.job_id)
        return pb.CancelJobResponse(job=_to_wire(await self._api.cancel(request.job_id)))

    async def PauseJob(self, request: pb.PauseJobRequest, context: Context[Any, Any]) -> pb.PauseJobResponse:  # noqa: N802
        await self._own(request.job_id)
        with reaching_jetstream():
            return pb.PauseJobResponse(job=_to_wire(await self._control.pause(request.job_id)))

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Context[Any, Any]) -> pb.ResumeJobResponse:  # noqa: N802
        await self._own(request.job_id)
        with reaching_jetstream():
            job, plan = await self._control.resume(request.job_id, request.pipeline, only_plan=request.only_plan)
        return pb.ResumeJobResponse(job=_to_wire(job), plan=plan)

    async def SavepointJob(  # noqa: N802
        self, request: pb.SavepointJobRequest, context: Context[Any, Any]
    ) -> pb.SavepointJobResponse:
        await self._own(request.job_id)
        with reaching_jetstream():
            return pb.SavepointJobResponse(job=_to_wire(await self._control.savepoint(request.job_id)))

    async def ExplainJob(  # noqa: N802
        self, request: pb.ExplainJobRequest, context: Context[Any, Any]
    ) -> pb.ExplainJobResponse:
        await self._own(request.job_id)
        with reaching_jetstream():
            job, tasks = await self._control.explain(request.job_id)
        return pb.ExplainJobResponse(job=_to_wire(job), tasks=map(_task_to_wire, tasks))

    async def ReadResults(  # noqa: N802
        self, request: pb.ReadResultsRequest, context: Context[Any, Any]
    ) -> AsyncIterator[pb.ReadResultsResponse]:
        await self._own(request.job_id)
        pieces = self._records.results(request.job_id, request.collection, request.after, follow=request.follow)
        with reaching_jetstream():
            async for piece in pieces:
                yield pb.ReadResultsResponse(
                    collection=piece.collection,
                    task=piece.task,
                    first=piece.first,
                    json=orjson.dumps(piece.records if piece.end is None else piece.end),
                    sequence=piece.sequence,
                )

    async def ListDeadLetters(  # noqa: N802
        self, request: pb.ListDeadLettersRequest, context: Context[Any, Any]
    ) -> pb.ListDeadLettersResponse:
        await self._own(request.job_id)
        with reaching_jetstream():
            letters, total = await self._records.letters(request.job_id, request.node_id, request.limit, request.after)
        return pb.ListDeadLettersResponse(letters=map(_letter_to_wire, letters), total=total)

    async def ReplayDeadLetters(  # noqa: N802
        self, request: pb.ReplayDeadLettersRequest, context: Context[Any, Any]
    ) -> pb.ReplayDeadLettersResponse:
        await self._own(request.job_id)
        with reaching_jetstream():
            job, records = await self._records.replay(request.job_id, request.node_id, request.new_job_id)
        return pb.ReplayDeadLettersResponse(job=_to_wire(job), records=records)

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
        progress=_progress_to_wire(job.progress),
        worker_id=job.worker_id,
        created_unix_ms=job.created_unix_ms,
        updated_unix_ms=job.updated_unix_ms,
        spec_hash=job.spec_hash,
        attempts=job.attempts,
        waiting=job.waiting,
        tasks=job.tasks,
        plan=job.plan,
    )


def _progress_to_wire(progress: dict[str, NodeProgress]) -> list[pb.NodeProgress]:
    return [
        pb.NodeProgress(
            node_id=node,
            records_in=counts.records_in,
            records_out=counts.records_out,
            records_failed=counts.records_failed,
            records_total=counts.records_total,
            watermark_unix_ms=counts.watermark_unix_ms,
        )
        for node, counts in progress.items()
    ]


def _event_to_wire(sequence: int, event: JobEvent) -> pb.JobEvent:
    return pb.JobEvent(
        sequence=sequence,
        kind=event.kind.value,
        unix_ms=event.unix_ms,
        state=event.state,
        task=event.task,
        worker_id=event.worker_id,
        reason=event.reason,
        attempts=event.attempts,
        checkpoint=event.checkpoint,
        progress=_progress_to_wire(event.progress),
    )


def _task_to_wire(task: JobTask) -> pb.JobTask:
    placement = task.placement
    return pb.JobTask(
        number=task.number,
        state=task.state.value,
        worker_id=task.worker_id,
        attempts=task.attempts,
        checkpoint=task.checkpoint,
        reason=placement.reason if placement else "",
        candidates=[
            pb.TaskCandidate(worker_id=one.worker_id, refusal=one.refusal, score=one.score)
            for one in (placement.candidates if placement else ())
        ],
        splits_json=orjson.dumps(task.splits).decode(),
        errors=task.errors,
    )


def _letter_to_wire(letter: KeptLetter) -> pb.DeadLetter:
    return pb.DeadLetter(
        sequence=letter.sequence,
        node_id=letter.node,
        error=letter.error,
        attempts=letter.attempts,
        spec_hash=letter.spec_hash,
        record_json=orjson.dumps(letter.record),
    )
