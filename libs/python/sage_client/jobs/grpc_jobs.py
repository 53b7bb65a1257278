"""Jobs over gRPC, at any dataflow worker that answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from grpc.aio import Channel

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage.dataflow.v1 import dataflow_pb2_grpc
from sage_client.jobs.job_messages import dead_letter_view, event_view, job_view, result_piece, task_view
from sage_client.jobs.job_views import (
    DeadLetters,
    JobEventView,
    JobExplanation,
    JobReplay,
    JobResumption,
    JobView,
    ResultPiece,
)
from sage_client.jobs.jobs import new_job_id_of, pipeline_text
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_client.wait_notice import OnWait

T = TypeVar("T")
WORKER = "dataflow-worker"
CALL_SECONDS = 30.0


class GrpcJobs:
    """``Jobs`` at the workers that ``list_instances`` names.

    Args:
        token: API key or mesh token that they are called with; empty for none.
        on_wait: called with which worker a call waits for, when that takes longer than two seconds.
        closing: releases what ``list_instances`` uses.
        acting_for: tenant whose calls they count as; empty for the token's own.
    """

    def __init__(
        self,
        list_instances: ListInstances,
        token: str = "",
        on_wait: OnWait | None = None,
        closing: Callable[[], Awaitable[None]] | None = None,
        *,
        acting_for: str = "",
    ) -> None:
        self._calls = ServiceCalls(list_instances, token, on_wait, acting_for=acting_for)
        self._closing = closing

    async def submit(self, pipeline: object, job_id: str = "", *, tenant: str = "") -> JobView:
        text, job_id = pipeline_text(pipeline), new_job_id_of(job_id)
        request = pb.SubmitJobRequest(pipeline=text, job_id=job_id, tenant=tenant)
        return job_view((await self._call(lambda worker: worker.SubmitJob(request, timeout=CALL_SECONDS))).job)

    async def get(self, job_id: str) -> JobView:
        request = pb.GetJobRequest(job_id=job_id)
        return job_view((await self._call(lambda worker: worker.GetJob(request, timeout=CALL_SECONDS))).job)

    async def list_jobs(self, limit: int = 0) -> list[JobView]:
        request = pb.ListJobsRequest(limit=limit)
        answer = await self._call(lambda worker: worker.ListJobs(request, timeout=CALL_SECONDS))
        return [job_view(job) for job in answer.jobs]

    async def watch(self, job_id: str) -> AsyncIterator[JobView]:
        request = pb.WatchJobRequest(job_id=job_id)
        async for answer in self._calls.stream_any(WORKER, lambda channel: _worker(channel).WatchJob(request)):
            yield job_view(answer.job)

    async def events(
        self, job_id: str, *, after: int = 0, follow: bool = False, progress: bool = False
    ) -> AsyncIterator[JobEventView]:
        request = pb.ReadEventsRequest(job_id=job_id, after=after, follow=follow, progress=progress)
        async for answer in self._calls.stream_any(WORKER, lambda channel: _worker(channel).ReadEvents(request)):
            yield event_view(answer.event)

    async def cancel(self, job_id: str) -> JobView:
        request = pb.CancelJobRequest(job_id=job_id)
        return job_view((await self._call(lambda worker: worker.CancelJob(request, timeout=CALL_SECONDS))).job)

    async def pause(self, job_id: str) -> JobView:
        request = pb.PauseJobRequest(job_id=job_id)
        return job_view((await self._call(lambda worker: worker.PauseJob(request, timeout=CALL_SECONDS))).job)

    async def resume(self, job_id: str, pipeline: object = "", *, only_plan: bool = False) -> JobResumption:
        request = pb.ResumeJobRequest(job_id=job_id, pipeline=pipeline_text(pipeline), only_plan=only_plan)
        answer = await self._call(lambda worker: worker.ResumeJob(request, timeout=CALL_SECONDS))
        return JobResumption(job_view(answer.job), tuple(answer.plan))

    async def savepoint(self, job_id: str) -> JobView:
        request = pb.SavepointJobRequest(job_id=job_id)
        return job_view((await self._call(lambda worker: worker.SavepointJob(request, timeout=CALL_SECONDS))).job)

    async def explain(self, job_id: str) -> JobExplanation:
        request = pb.ExplainJobRequest(job_id=job_id)
        answer = await self._call(lambda worker: worker.ExplainJob(request, timeout=CALL_SECONDS))
        return JobExplanation(job_view(answer.job), tuple(map(task_view, answer.tasks)))

    async def results(
        self, job_id: str, collection: str = "", *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[ResultPiece]:
        request = pb.ReadResultsRequest(job_id=job_id, collection=collection, after=after, follow=follow)
        async for answer in self._calls.stream_any(WORKER, lambda channel: _worker(channel).ReadResults(request)):
            yield result_piece(answer)

    async def dead_letters(self, job_id: str, node: str = "", *, limit: int = 0, after: int = 0) -> DeadLetters:
        request = pb.ListDeadLettersRequest(job_id=job_id, node_id=node, limit=limit, after=after)
        answer = await self._call(lambda worker: worker.ListDeadLetters(request, timeout=CALL_SECONDS))
        return DeadLetters(tuple(map(dead_letter_view, answer.letters)), answer.total)

    async def replay(self, job_id: str, node: str = "", *, new_job_id: str = "") -> JobReplay:
        request = pb.ReplayDeadLettersRequest(job_id=job_id, node_id=node, new_job_id=new_job_id_of(new_job_id))
        answer = await self._call(lambda worker: worker.ReplayDeadLetters(request, timeout=CALL_SECONDS))
        return JobReplay(job_view(answer.job), answer.records)

    async def close(self) -> None:
        """Release what the registry is read through."""
        if self._closing is not None:
            await self._closing()

    async def _call(self, call: Callable[[Any], Awaitable[T]]) -> T:
        return await self._calls.any(WORKER, lambda channel: call(_worker(channel)))


def _worker(channel: Channel) -> Any:
    return dataflow_pb2_grpc.DataflowServiceStub(channel)  # type: ignore[no-untyped-call]
