"""Workers of a mesh of their own for a measurement: a NATS server, and processes that are given one core each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage.dataflow.v1 import dataflow_pb2_grpc
from sage_platform import subjects
from sage_platform.grpc_server import channel
from sage_platform.kv import open_bucket
from sage_platform.nats_server import NatsServer, NatsServerOptions
from sage_platform.registry import TTL_SECONDS, list_instances

_START_SECONDS = 60.0


@dataclass
class MeshWorkers:
    """Starts workers; all of them end with it.

    Attributes:
        processes: by the worker's name.
    """

    url: str
    client: Client
    folder: Path
    exits: contextlib.AsyncExitStack
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str, core: int, **options: str) -> Any:
        """Start a worker on one core, and return a stub that asks it."""
        environment = {
            **os.environ,
            "SAGE_NATS_URL": self.url,
            "SAGE_INSTANCE_ID": name,
            "SAGE_DATAFLOW_WORKER_DRAIN_TIMEOUT_SECONDS": "0",
            "SAGE_DATAFLOW_WORKER_ALLOWED_ROOTS": f'["{self.folder}"]',
            "XDG_CACHE_HOME": str(self.folder),
            "XDG_DATA_HOME": str(self.folder),
            **{f"SAGE_DATAFLOW_WORKER_{option.upper()}": value for option, value in options.items()},
        }
        process = await asyncio.create_subprocess_exec(
            "taskset", "-c", str(core), sys.executable, "-m", "sage_dataflow_worker",
            env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self.processes[name] = process
        self.exits.push_async_callback(_end, process)
        bucket = await open_bucket(self.client.jetstream(), subjects.BUCKET_SERVICES, ttl_seconds=TTL_SECONDS)

        async def registered() -> str:
            while True:
                found = [each for each in await list_instances(bucket) if each.instance_id == name]
                if found:
                    return str(found[0].grpc_address)
                if process.returncode is not None:
                    raise RuntimeError(f"worker {name} ended with {process.returncode}")
                await asyncio.sleep(0.05)

        address = await asyncio.wait_for(registered(), _START_SECONDS)
        opened = await self.exits.enter_async_context(channel(address))
        return dataflow_pb2_grpc.DataflowServiceStub(opened)  # type: ignore[no-untyped-call]

    async def cpu_seconds(self) -> list[float]:
        """Return the processor time that each worker has taken so far."""
        return await asyncio.to_thread(lambda: [_cpu_seconds(process.pid) for process in self.processes.values()])

    async def core_wait_seconds(self) -> list[float]:
        """Return for how long each worker was ready to run so far, and did not have a core."""
        return await asyncio.to_thread(lambda: [_core_wait_seconds(process.pid) for process in self.processes.values()])

    async def workers_known(self, count: int) -> None:
        """Wait until so many have told each other of themselves."""
        nodes = await open_bucket(self.client.jetstream(), subjects.BUCKET_NODES)
        watcher = await nodes.watchall()
        known: set[str] = set()
        async for entry in watcher:
            if entry is not None:
                known.add(entry.key)
            if len(known) >= count:
                break
        await watcher.stop()  # type: ignore[no-untyped-call]


@contextlib.asynccontextmanager
async def mesh_workers(folder: Path) -> AsyncIterator[MeshWorkers]:
    """Yield what starts workers on a NATS server of their own."""
    await asyncio.to_thread(folder.mkdir)
    server = NatsServer(NatsServerOptions(folder / "nats"))
    process = await asyncio.create_subprocess_exec(
        *server.prepare(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        os.sched_setaffinity(process.pid, range(os.cpu_count() or 1))
        await server.wait_ready(process.pid)
        client = await nats.connect(server.url)
        async with contextlib.AsyncExitStack() as exits:
            yield MeshWorkers(server.url, client, folder, exits)
        await client.close()
    finally:
        process.terminate()
        await process.wait()


async def ended(stub: Any, job_id: str) -> pb.Job:
    """Return a job when it has succeeded. Raises RuntimeError where it ends in another way."""
    async for change in stub.WatchJob(pb.WatchJobRequest(job_id=job_id)):
        if change.job.state == pb.JOB_STATE_SUCCEEDED:
            job: pb.Job = change.job
            return job
        if change.job.state in (pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED):
            raise RuntimeError(f"the job failed: {list(change.job.errors)}")
    raise RuntimeError("the job's end was not told")


async def running_on(stub: Any, job_id: str, *but: str) -> str:
    """Wait until the first task of a job runs on another worker than ``but``, and return on which."""
    while True:
        answer = await stub.ExplainJob(pb.ExplainJobRequest(job_id=job_id))
        for task in answer.tasks[:1]:
            if task.state == "running" and task.worker_id not in but:
                return str(task.worker_id)
        await asyncio.sleep(0.005)


def _cpu_seconds(pid: int) -> float:
    # Behind the name, which may hold anything: user and system time, in ticks (proc(5)).
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _core_wait_seconds(pid: int) -> float:
    # Of each thread: nanoseconds on a core, nanoseconds in the queue for one, and turns (sched-stats of the kernel).
    waits = (thread.read_text().split()[1] for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return max(map(int, waits), default=0) / 1e9


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()
