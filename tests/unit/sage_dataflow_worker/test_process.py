from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fixtures.eventually import eventually
from fixtures.worker_processes import WorkerProcesses, until, worker_processes
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage_cli.mesh.registrations import is_serving, why_not_serving
from sage_kernel.builder import Pipeline
from sage_platform.grpc_server import channel
from sage_platform.registry import Instance


@pytest.fixture
async def mesh(own_nats: Any, tmp_path: Path) -> AsyncIterator[WorkerProcesses]:
    async with worker_processes(own_nats.url, tmp_path) as made:
        yield made


async def test_the_api_answers_with_health_and_typed_errors(mesh: WorkerProcesses) -> None:
    _, instance = await mesh.worker("one")
    async with channel(instance.grpc_address) as opened:
        service = pb.DESCRIPTOR.services_by_name["DataflowService"].full_name
        health = await health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(service=service))
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    pipeline = Pipeline("copy")
    pipeline.source(records=[{"n": 1}, {"n": 2}]).sink("collection:out")
    async with mesh.stub(instance) as stub:
        valid = await stub.ValidatePipeline(pb.ValidatePipelineRequest(pipeline=pipeline.to_yaml()))
        assert (list(valid.errors), valid.spec_hash) == ([], pipeline.build().spec_hash)
        submitted = await stub.SubmitJob(pb.SubmitJobRequest(pipeline=pipeline.to_yaml(), job_id="mine"))
        assert submitted.job.spec_hash == valid.spec_hash
        done = await until(stub, "mine", "SUCCEEDED")
        assert {p.node_id: (p.records_in, p.records_out) for p in done.progress} == {"source": (0, 2), "sink": (2, 0)}
        assert (await stub.GetJob(pb.GetJobRequest(job_id="mine"))).job == done
        assert [job.job_id for job in (await stub.ListJobs(pb.ListJobsRequest())).jobs] == ["mine"]
        wrong = (await stub.SubmitJob(pb.SubmitJobRequest(pipeline="nodes: []"))).job
        assert wrong.state == pb.JOB_STATE_FAILED
        assert len(wrong.errors) > 2
        for call, code in (
            (stub.GetJob(pb.GetJobRequest(job_id="none")), grpc.StatusCode.NOT_FOUND),
            (stub.CancelJob(pb.CancelJobRequest()), grpc.StatusCode.NOT_FOUND),
            (stub.SubmitJob(pb.SubmitJobRequest(job_id="a b")), grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is code


async def test_a_worker_whose_reader_cannot_start_is_not_well_until_it_can(
    mesh: WorkerProcesses, tmp_path: Path
) -> None:
    obstacle = tmp_path / "no-memory"
    obstacle.touch()
    # Loaded by every Python at its start: it ends the processes that read pipelines, and no other.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"if 'sage_dataflow_worker.validation_process' in sys.orig_argv and os.path.exists({str(obstacle)!r}):\n"
        "    os._exit(1)\n"
    )
    process, instance = await mesh.worker("one", variables={"PYTHONPATH": str(tmp_path)})
    # Registered at its start, when its health is not yet what it will be.
    await eventually(lambda: is_unwell(instance))
    pipeline = Pipeline("copy")
    pipeline.source(records=[{"n": 1}]).sink("collection:out")
    async with mesh.stub(instance) as stub:
        with pytest.raises(aio.AioRpcError, match="did not start") as refusal:
            await stub.ValidatePipeline(pb.ValidatePipelineRequest(pipeline=pipeline.to_yaml()))
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        await mesh.publish_job("waits", pipeline.to_yaml())
        await eventually(lambda: is_waiting(stub, "waits"))
        obstacle.unlink()
        assert (await until(stub, "waits", "SUCCEEDED")).attempts == 1
    await eventually(lambda: is_serving(instance))
    assert process.returncode is None


async def is_unwell(instance: Instance) -> bool:
    reason = await why_not_serving(instance) or ""
    return "pipeline-reader: the process that reads pipelines did not start" in reason


async def is_waiting(stub: Any, job_id: str) -> bool:
    jobs = (await stub.ListJobs(pb.ListJobsRequest())).jobs
    return any(job.job_id == job_id and "did not start" in job.waiting for job in jobs)


async def test_a_worker_killed_with_9_loses_its_job_to_another(mesh: WorkerProcesses) -> None:
    doomed, instance = await mesh.worker("doomed")
    # No engine serves chat here, so the job keeps its worker busy with waiting for one.
    pipeline = Pipeline("stuck")
    pipeline.source(records=[{"text": "hi"}]).llm("{text}", retries=20).sink("collection:out")
    async with mesh.stub(instance) as stub:
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=pipeline.to_yaml(), job_id="mine"))
        assert (await until(stub, "mine", "RUNNING")).worker_id == "doomed"
    _, instance = await mesh.worker("heir")
    doomed.kill()
    async with mesh.stub(instance) as stub:
        running = await until(stub, "mine", "RUNNING", attempts=2)
        assert running.worker_id == "heir"
        cancelled = (await stub.CancelJob(pb.CancelJobRequest(job_id="mine"))).job
        assert cancelled.state == pb.JOB_STATE_CANCELLED
        assert (await until(stub, "mine", "CANCELLED")) == cancelled
