"""A disk that is full: what needs no disk goes on, what was killed comes back, and with room again all of it works."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import openai
import orjson
import pytest
from fixtures.batch_client import batch_when, chat_line, client_of, ended_batch, lines_of, started_batch
from fixtures.small_disk import SmallDisk, small_disk

from sage.dataflow.v1 import dataflow_pb2, dataflow_pb2_grpc
from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_kernel.builder import Pipeline

BODY = {"model": "static", "messages": [{"role": "user", "content": "hi"}]}
BATCH_LINES = 4000
# Six seconds after the disk had become full every request was refused, before leases were kept in memory.
FULL_SECONDS = 8.0
# From room on the disk to a job that is taken.
RECOVERY_SECONDS = 15.0


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("full") / "disk", megabytes=48) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def mesh(disk: SmallDisk) -> Iterator[IsolatedMesh]:
    """A mesh that each test leaves whole again, with room on its disk."""
    replicas = {"embed-executor": 0}
    with static_engine() as engine, isolated_mesh(disk.path / "mesh", llm=engine, replicas=replicas) as running:
        yield running


def chat(mesh: IsolatedMesh, timeout_seconds: float = 10.0) -> int:
    """Status of a chat's answer; 0 without one."""
    url = f"{mesh.gateway_url}/v1/chat/completions"
    request = urllib.request.Request(url, orjson.dumps(BODY), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def submit(mesh: IsolatedMesh) -> dataflow_pb2.Job:
    """Submit a job. Raises grpc.RpcError."""
    pipeline = Pipeline("p")
    # More than what is left of the last page of a file.
    pipeline.source(records=[{"text": "a" * 20_000}]).sink("collection:out")
    (worker,) = mesh.processes("dataflow-worker")
    with grpc.insecure_channel(f"127.0.0.1:{worker.ports['grpc']}") as channel:
        stub = dataflow_pb2_grpc.DataflowServiceStub(channel)
        job = stub.SubmitJob(dataflow_pb2.SubmitJobRequest(pipeline=pipeline.to_yaml()), timeout=10).job
        for answer in stub.WatchJob(dataflow_pb2.WatchJobRequest(job_id=job.job_id), timeout=20):
            job = answer.job
        return job


def status(mesh: IsolatedMesh) -> tuple[int, dict[str, Any]]:
    """Exit code of ``sage status`` and what it says."""
    command = [sys.executable, "-m", "sage_cli", "status", "--json"]
    done = subprocess.run(command, env=mesh.environment, capture_output=True, check=False, timeout=30)
    return done.returncode, orjson.loads(done.stdout)


async def began_batch(mesh: IsolatedMesh) -> str:
    """Begin a batch; return its id once some of it is done."""
    content = b"".join(chat_line(f"r{number}", "hi", model="static") for number in range(BATCH_LINES))
    async with client_of(mesh.gateway_url, "full") as client:
        batch = await started_batch(client, content)
        batch = await batch_when(client, batch.id, lambda batch: batch.request_counts.completed > 0)
        assert batch.request_counts.completed < BATCH_LINES
        return str(batch.id)


async def finished_batch(mesh: IsolatedMesh, batch_id: str) -> int:
    """How many lines a batch has in its file in the end."""
    async with client_of(mesh.gateway_url, "full") as client:
        batch = await ended_batch(client, batch_id, 60)
        assert batch.status == "completed"
        return len(await lines_of(client, batch.output_file_id))


def upload(mesh: IsolatedMesh) -> tuple[int, str]:
    """Status of an upload's answer, and its error's code."""
    with openai.OpenAI(base_url=f"{mesh.gateway_url}/v1", api_key="unused", max_retries=0, timeout=30) as client:
        try:
            client.files.create(file=("a", b"x" * 2_000_000), purpose="batch")
        except openai.APIStatusError as error:
            return error.status_code, str(error.code)
        return 200, ""


def within(seconds: float, attempt: Callable[[], bool]) -> bool:
    """Whether an attempt succeeds in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if attempt():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.long
def test_a_full_disk_stops_nothing_that_needs_none_and_is_survived(mesh: IsolatedMesh, disk: SmallDisk) -> None:
    assert chat(mesh) == 200
    assert submit(mesh).state == dataflow_pb2.JOB_STATE_SUCCEEDED
    assert status(mesh)[0] == 0
    batch_id = asyncio.run(began_batch(mesh))
    disk.fill()
    with pytest.raises(grpc.RpcError) as refusal:
        submit(mesh)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "JetStream" in refusal.value.details()

    assert upload(mesh) == (503, "jetstream_unavailable")
    until = time.monotonic() + FULL_SECONDS
    outcomes = []
    while time.monotonic() < until:
        outcomes.append(chat(mesh))
    assert set(outcomes) == {200}, outcomes

    for victim in ("classifier", "scheduler", "llm-coordinator", "gateway"):
        disk.fill()
        pid = mesh.process(victim).pid
        mesh.process(victim).kill()
        mesh.wait_ready(victim, not_pid=pid, timeout_seconds=30)
        assert within(10, lambda: chat(mesh) == 200), mesh.log(victim)[-2000:]
    code, seen = status(mesh)
    assert code == 1
    assert "JetStream cannot write" in seen["message"]
    assert "no space left" in seen["message"]
    pids = {process["name"]: process["pid"] for process in seen["processes"]}
    assert all(mesh.process(name).pid == pid for name, pid in pids.items())
    assert all(process["serving"] for process in seen["processes"]), seen["processes"]

    disk.free()
    _works_again(mesh)
    assert within(RECOVERY_SECONDS, lambda: upload(mesh)[0] == 200)
    assert asyncio.run(finished_batch(mesh, batch_id)) == BATCH_LINES


def test_nats_killed_on_a_full_disk_comes_back_and_takes_jobs_once_there_is_room(
    mesh: IsolatedMesh, disk: SmallDisk
) -> None:
    disk.fill()
    pid = mesh.process("nats").pid
    mesh.process("nats").kill()
    mesh.wait_ready("nats", not_pid=pid, timeout_seconds=30)
    assert within(15, lambda: chat(mesh) == 200), mesh.log("nats")[-3000:]
    disk.free()
    _works_again(mesh)


def _works_again(mesh: IsolatedMesh) -> None:
    def takes_jobs() -> bool:
        try:
            return submit(mesh).state == dataflow_pb2.JOB_STATE_SUCCEEDED
        except grpc.RpcError:
            return False

    assert within(RECOVERY_SECONDS, takes_jobs), (mesh.log("nats")[-2000:], mesh.log("dataflow-worker")[-2000:])
    assert within(10, lambda: chat(mesh) == 200)
    assert within(10, lambda: status(mesh)[0] == 0), status(mesh)
