from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage.dataflow.v1 import dataflow_pb2_grpc
from sage_common.service_settings import NatsSettings
from sage_kernel.builder import Pipeline
from sage_platform import subjects
from sage_platform.grpc_server import channel
from sage_platform.kv import open_bucket
from sage_platform.nats_connection import connect
from sage_platform.registry import TTL_SECONDS, Instance, list_instances


class Mesh:
    """Real worker processes on a real NATS server."""

    def __init__(self, url: str, home: Path, bucket: Any) -> None:
        self._url = url
        self._home = home
        self._bucket = bucket
        self.exits = AsyncExitStack()

    async def worker(self, name: str) -> tuple[asyncio.subprocess.Process, Instance]:
        environment = {
            **os.environ,
            "SAGE_NATS_URL": self._url,
            "SAGE_INSTANCE_ID": name,
            "SAGE_DATAFLOW_WORKER_ACK_WAIT_SECONDS": "1",
            "SAGE_DATAFLOW_WORKER_DRAIN_TIMEOUT_SECONDS": "0",
            "XDG_CACHE_HOME": str(self._home),
        }
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sage_dataflow_worker", env=environment)
        self.exits.push_async_callback(end, process)
        while process.returncode is None:
            found = [i for i in await list_instances(self._bucket) if i.instance_id == name]
            if found:
                return process, found[0]
            await asyncio.sleep(0.05)
        raise AssertionError(f"worker {name} ended with {process.returncode}")

    @asynccontextmanager
    async def stub(self, instance: Instance) -> AsyncIterator[dataflow_pb2_grpc.DataflowServiceStub]:
        async with channel(instance.grpc_address) as opened:
            yield dataflow_pb2_grpc.DataflowServiceStub(opened)


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await asyncio.wait_for(process.wait(), 15)


@pytest.fixture
async def mesh(own_nats: Any, tmp_path: Path) -> AsyncIterator[Mesh]:
    connection = await connect(NatsSettings(url=own_nats.url), name="test")
    bucket = await open_bucket(connection.jetstream(), subjects.BUCKET_SERVICES, ttl_seconds=TTL_SECONDS)
    made = Mesh(own_nats.url, tmp_path, bucket)
    async with made.exits:
        yield made
    await connection.close()


async def until(stub: Any, job_id: str, state: str, attempts: int = 0) -> pb.Job:
    async def watch() -> pb.Job:
        call = stub.WatchJob(pb.WatchJobRequest(job_id=job_id))
        async for change in call:
            if pb.JobState.Name(change.job.state) == f"JOB_STATE_{state}" and change.job.attempts >= attempts:
                call.cancel()
                return change.job
        raise AssertionError(f"{job_id} never was {state}")

    return await asyncio.wait_for(watch(), 20)


async def test_the_api_answers_with_health_and_typed_errors(mesh: Mesh) -> None:
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


async def test_a_worker_killed_with_9_loses_its_job_to_another(mesh: Mesh) -> None:
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
