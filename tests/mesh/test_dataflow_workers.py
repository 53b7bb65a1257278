"""A job over the files of a folder on real workers: whoever is killed or stopped, every record comes out once."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from fixtures.nats import start_nats
from fixtures.worker_processes import WorkerProcesses, until, worker_processes

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_yaml

# So many that a job has tasks under way, and checkpoints behind it, when a worker is killed.
FILES, ROWS = 8, 60_000
TRIES = 5


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[WorkerProcesses]:
    nats = start_nats(tmp_path)
    try:
        async with worker_processes(nats.url, tmp_path) as made:
            yield made
    finally:
        nats.stop()


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(FILES):
        frame = pl.DataFrame({"n": range(number * ROWS, (number + 1) * ROWS)})
        frame.write_parquet(folder / f"part-{number}.parquet", row_group_size=4000)
    return json.dumps(
        {
            "apiVersion": "sage/v1",
            "kind": "Pipeline",
            "metadata": {"name": "squares"},
            "settings": {"checkpoint_interval": "50ms"},
            "nodes": {
                "numbers": {"op": "source", "uri": f"parquet:{folder}/*.parquet", "schema": {"n": "int"}},
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


async def busy_tasks(stub: Any, job_id: str, worker: str) -> bool:
    """Wait until a worker runs a task that has a checkpoint; return False where the job ends before that was seen."""
    while True:
        answer = await stub.ExplainJob(pb.ExplainJobRequest(job_id=job_id))
        if any(t.worker_id == worker and t.state == "running" and t.checkpoint for t in answer.tasks):
            return True
        if answer.job.state == pb.JOB_STATE_SUCCEEDED:
            return False
        assert answer.job.state in (pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING), answer.job
        await asyncio.sleep(0.01)


async def busy_job(stub: Any, pipeline: str, worker: str) -> str:
    """Submit jobs until one is seen to keep a worker busy; return its id, which stands for JOB in the pipeline."""
    for number in range(TRIES):
        job_id = f"squares-{number}"
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=pipeline.replace("JOB", job_id), job_id=job_id))
        if await asyncio.wait_for(busy_tasks(stub, job_id, worker), 30):
            return job_id
    raise AssertionError(f"each of {TRIES} jobs ended before its tasks were seen to run")


OPTIONS = {"max_tasks": "2", "placement": "spread", "progress_interval_seconds": "0.03", "ack_wait_seconds": "3"}


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)])
async def test_a_workers_tasks_go_on_elsewhere_from_their_checkpoints(
    workers: WorkerProcesses, pipeline: str, tmp_path: Path, how: signal.Signals
) -> None:
    roots = json.dumps([str(tmp_path)])
    processes = {name: await workers.worker(name, allowed_roots=roots, **OPTIONS) for name in ("a", "b", "c")}
    async with workers.stub(processes["c"][1]) as stub:
        job_id = await busy_job(stub, pipeline, "a")
        process = processes["a"][0]
        process.send_signal(how)
        done = await until(stub, job_id, "SUCCEEDED")
        if how is signal.SIGSTOP:
            process.send_signal(signal.SIGCONT)
            # It has found out that it lost its tasks when it answers for all jobs again.
            async with workers.stub(processes["a"][1]) as revived:
                assert (await revived.GetJob(pb.GetJobRequest(job_id=job_id))).job.state == pb.JOB_STATE_SUCCEEDED
        assert await collected(stub, job_id) == list(range(FILES * ROWS))
        assert done.tasks == 6


async def test_the_mesh_gives_what_a_local_run_gives(workers: WorkerProcesses, pipeline: str, tmp_path: Path) -> None:
    _, instance = await workers.worker("a", allowed_roots=json.dumps([str(tmp_path)]), **OPTIONS)
    async with workers.stub(instance) as stub:
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=pipeline, job_id="squares"))
        await until(stub, "squares", "SUCCEEDED")
        found = await collected(stub, "squares")
    local = await LocalRunner(None).run(from_yaml(pipeline))  # type: ignore[arg-type]
    assert found == sorted(record["n"] for record in local.collections["out"])


@pytest.mark.long
async def test_parts_are_merged_exactly_whichever_workers_are_killed(
    workers: WorkerProcesses, pipeline: str, tmp_path: Path
) -> None:
    """Kills a worker while tasks make their parts, and the one that merges them while it does."""
    value = json.loads(pipeline)
    value["nodes"] |= {
        "rests": {"op": "map", "in": ["squares"], "fields": {"rest": "n % 1000"}},
        "keyed": {"op": "key_by", "in": ["rests"], "fields": ["rest"]},
        "sums": {"op": "aggregate", "in": ["keyed"], "aggs": {"n": "count()", "total": "sum(square)"}},
        "out": {"op": "sink", "in": ["sums"], "uri": f"parquet:{tmp_path}/JOB/sums.parquet"},
        "lines": {"op": "sink", "in": ["squares"], "uri": f"jsonl:{tmp_path}/JOB/lines.jsonl"},
    }
    roots = json.dumps([str(tmp_path)])
    processes = {name: await workers.worker(name, allowed_roots=roots, **OPTIONS) for name in ("a", "b", "c")}
    async with workers.stub(processes["c"][1]) as stub:
        job_id = await busy_job(stub, json.dumps(value), "a")
        processes["a"][0].kill()
        merging = await asyncio.wait_for(_worker_of_task(stub, job_id, 6), 30)
        if merging == "c":
            # Another answers for the job.
            async with workers.stub(processes["b"][1]) as other:
                processes["c"][0].kill()
                await until(other, job_id, "SUCCEEDED")
        else:
            processes["b"][0].kill()
            await until(stub, job_id, "SUCCEEDED")
    rows = FILES * ROWS
    with duckdb.connect() as database:
        wanted = database.execute(
            f"SELECT n % 1000 AS rest, count(*), sum(n * n)::BIGINT FROM range({rows}) r(n) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    assert sorted(pl.read_parquet(tmp_path / job_id / "sums.parquet").select("rest", "n", "total").rows()) == wanted
    lines = (tmp_path / job_id / "lines.jsonl").read_bytes().splitlines()
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
