"""A job over the files of a folder on real workers: whoever is killed or stopped, every record comes out once."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import pytest_asyncio
from fixtures.nats import start_nats
from fixtures.worker_processes import WorkerProcesses, until, worker_processes

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_yaml
from sage_platform.registry import Instance

# So many that a job has tasks under way, and checkpoints behind it, when a worker is killed.
FILES, ROWS = 8, 60_000
OPTIONS = {"max_tasks": "2", "placement": "spread", "progress_interval_seconds": "0.03", "ack_wait_seconds": "3"}

# The workers outlive each test that does not kill them.
pytestmark = pytest.mark.asyncio(loop_scope="module")


class ThreeWorkers:
    """Three workers for each test: those of the tests before that live, and others for those that do not."""

    def __init__(self, processes: WorkerProcesses, folder: Path) -> None:
        self._processes = processes
        self._roots = json.dumps([str(folder)])
        self._numbers = count()
        self._running: dict[str, tuple[asyncio.subprocess.Process, Instance]] = {}

    async def complete(self) -> dict[str, tuple[asyncio.subprocess.Process, Instance]]:
        """Return three by name."""
        self._running = {name: one for name, one in self._running.items() if one[0].returncode is None}
        while len(self._running) < 3:
            # The record of one that was killed stays for a while, so that its name is not free.
            name = f"worker-{next(self._numbers)}"
            self._running[name] = await self._processes.worker(name, allowed_roots=self._roots, **OPTIONS)
        return dict(self._running)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes(folder: Path) -> AsyncIterator[WorkerProcesses]:
    nats = start_nats(folder)
    try:
        async with worker_processes(nats.url, folder) as made:
            yield made
    finally:
        nats.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(processes: WorkerProcesses, folder: Path) -> ThreeWorkers:
    return ThreeWorkers(processes, folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> str:
    (inputs := folder / "in").mkdir()
    for number in range(FILES):
        frame = pl.DataFrame({"n": range(number * ROWS, (number + 1) * ROWS)})
        frame.write_parquet(inputs / f"part-{number}.parquet", row_group_size=4000)
    return json.dumps(
        {
            "apiVersion": "sage/v1",
            "kind": "Pipeline",
            "metadata": {"name": "squares"},
            "settings": {"checkpoint_interval": "50ms"},
            "nodes": {
                "numbers": {"op": "source", "uri": f"parquet:{inputs}/*.parquet", "schema": {"n": "int"}},
                "squares": {"op": "map", "in": ["numbers"], "fields": {"square": "n * n"}},
                "out": {"op": "sink", "in": ["squares"], "uri": "collection:out"},
            },
        }
    )


async def collected(stub: Any, job_id: str) -> list[int]:
    numbers = []
    async for piece in stub.ReadResults(pb.ReadResultsRequest(job_id=job_id)):
        if piece.collection:
            numbers += [record["n"] for record in json.loads(piece.json)]
    return sorted(numbers)


async def busy_tasks(stub: Any, job_id: str, worker: str) -> None:
    """Wait until a worker runs a task that has a checkpoint."""
    while True:
        answer = await stub.ExplainJob(pb.ExplainJobRequest(job_id=job_id))
        if any(t.worker_id == worker and t.state == "running" and t.checkpoint for t in answer.tasks):
            return
        assert answer.job.state in (pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING), answer.job
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_workers_tasks_go_on_elsewhere_from_their_checkpoints(
    processes: WorkerProcesses, three: ThreeWorkers, pipeline: str, how: signal.Signals
) -> None:
    first, _, last = running = await three.complete()
    job_id = f"squares-{how.name}"
    async with processes.stub(running[last][1]) as stub:
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=pipeline, job_id=job_id))
        await asyncio.wait_for(busy_tasks(stub, job_id, first), 30)
        process = running[first][0]
        process.send_signal(how)
        done = await until(stub, job_id, "SUCCEEDED")
        if how is signal.SIGSTOP:
            process.send_signal(signal.SIGCONT)
            # It has found out that it lost its tasks when it answers for all jobs again.
            async with processes.stub(running[first][1]) as revived:
                assert (await revived.GetJob(pb.GetJobRequest(job_id=job_id))).job.state == pb.JOB_STATE_SUCCEEDED
        assert await collected(stub, job_id) == list(range(FILES * ROWS))
        assert done.tasks == 6


async def test_the_mesh_gives_what_a_local_run_gives(
    processes: WorkerProcesses, three: ThreeWorkers, pipeline: str
) -> None:
    *_, (_, instance) = (await three.complete()).values()
    async with processes.stub(instance) as stub:
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=pipeline, job_id="squares"))
        await until(stub, "squares", "SUCCEEDED")
        found = await collected(stub, "squares")
    local = await LocalRunner(None).run(from_yaml(pipeline))  # type: ignore[arg-type]
    assert found == sorted(record["n"] for record in local.collections["out"])


async def test_parts_are_merged_exactly_whichever_workers_are_killed(
    processes: WorkerProcesses, three: ThreeWorkers, pipeline: str, folder: Path
) -> None:
    """Kills a worker while tasks make their parts, and the one that merges them while it does."""
    value = json.loads(pipeline)
    value["nodes"] |= {
        "rests": {"op": "map", "in": ["squares"], "fields": {"rest": "n % 1000"}},
        "keyed": {"op": "key_by", "in": ["rests"], "fields": ["rest"]},
        "sums": {"op": "aggregate", "in": ["keyed"], "aggs": {"n": "count()", "total": "sum(square)"}},
        "out": {"op": "sink", "in": ["sums"], "uri": f"parquet:{folder}/sums.parquet"},
        "lines": {"op": "sink", "in": ["squares"], "uri": f"jsonl:{folder}/lines.jsonl"},
    }
    first, second, last = running = await three.complete()
    async with processes.stub(running[last][1]) as stub:
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=json.dumps(value), job_id="sums"))
        await asyncio.wait_for(busy_tasks(stub, "sums", first), 30)
        running[first][0].kill()
        merging = await asyncio.wait_for(_worker_of_task(stub, "sums", 6), 30)
        if merging == last:
            # Another answers for the job.
            async with processes.stub(running[second][1]) as other:
                running[last][0].kill()
                await until(other, "sums", "SUCCEEDED")
        else:
            running[second][0].kill()
            await until(stub, "sums", "SUCCEEDED")
    rows = FILES * ROWS
    with duckdb.connect() as database:
        wanted = database.execute(
            f"SELECT n % 1000 AS rest, count(*), sum(n * n)::BIGINT FROM range({rows}) r(n) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    assert sorted(pl.read_parquet(folder / "sums.parquet").select("rest", "n", "total").rows()) == wanted
    lines = (folder / "lines.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(rows))


async def _worker_of_task(stub: Any, job_id: str, number: int) -> str:
    """Wait until a task runs, and return where."""
    while True:
        answer = await stub.ExplainJob(pb.ExplainJobRequest(job_id=job_id))
        task = next((task for task in answer.tasks if task.number == number), None)
        if task is not None and task.state == "running":
            return str(task.worker_id)
        assert answer.job.state in (pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING), answer.job
        await asyncio.sleep(0.01)
