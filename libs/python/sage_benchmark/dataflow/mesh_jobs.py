"""Jobs on real workers: how soon they run, how soon they go on after a kill, and what a second worker is worth."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from nats.js.errors import KeyDeletedError, KeyNotFoundError

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage_benchmark.dataflow.measurement import DataflowPlan, Figure
from sage_benchmark.dataflow.mesh_workers import ended, mesh_workers, running_on
from sage_platform import subjects

_FILES = 16
_IDLE_SUBMITS = 10
# As many as one expression may have.
_STEPS, _FIELDS = 15, 10


class WorkSpent(NamedTuple):
    """What a job took.

    Attributes:
        cpu_seconds: of the worker that had most to do.
        core_wait_seconds: for how long, at most, a worker's busiest thread was ready and other programs had its core.
    """

    seconds: float
    cpu_seconds: float
    core_wait_seconds: float


def mesh_jobs(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure the start of a job, its recovery, and two workers beside one."""
    cores = list(range(os.cpu_count() or 1))
    # The measured process has one core; that of each worker is its own.
    os.sched_setaffinity(0, cores)
    return asyncio.run(_measure(plan, folder, cores))


async def _measure(plan: DataflowPlan, folder: Path, cores: list[int]) -> list[Figure]:
    figures = [await _idle_submit(folder / "idle", cores), *await _recovery(folder / "recovery", cores)]
    spent: dict[int, list[WorkSpent]] = {1: [], 2: []}
    for repetition in range(plan.repetitions):
        for workers in spent:
            place = folder / f"{workers}-{repetition}"
            spent[workers].append(await _shared_work(place, cores, workers, plan.events))
    one, two = (min(each.seconds for each in spent[workers]) for workers in (1, 2))
    cpu_one, cpu_two = (min(each.cpu_seconds for each in spent[workers]) for workers in (1, 2))
    waits = tuple(each.core_wait_seconds for each in spent[2])
    return [
        *figures,
        Figure("CPU-bound work, one worker", one, "s", runs=tuple(each.seconds for each in spent[1])),
        Figure("CPU-bound work, two workers", two, "s", runs=tuple(each.seconds for each in spent[2])),
        Figure("two workers beside one", one / two, "×", 1.7, by_cpu=cpu_one / cpu_two),
        Figure("longest that one of two waited for its core", min(waits), "s", runs=waits),
    ]


async def _idle_submit(folder: Path, cores: list[int]) -> Figure:
    async with mesh_workers(folder) as mesh:
        stub = await mesh.start("a", cores[-1])
        took = []
        for number in range(_IDLE_SUBMITS):
            records = [{"n": number}]
            pipeline = _pipeline({"op": "source", "records": records}, {"twice": "n * 2"}, "collection:out")
            began = time.perf_counter()
            await stub.SubmitJob(pb.SubmitJobRequest(pipeline=pipeline, job_id=f"idle-{number}"))
            while True:
                answer = await stub.ExplainJob(pb.ExplainJobRequest(job_id=f"idle-{number}"))
                if any(task.state in ("running", "succeeded") for task in answer.tasks):
                    break
                await asyncio.sleep(0.002)
            took.append(1000 * (time.perf_counter() - began))
            await ended(stub, f"idle-{number}")
    return Figure("idle submit to a running task", sorted(took)[len(took) // 2], "ms", 300, True, tuple(took))


async def _recovery(folder: Path, cores: list[int]) -> list[Figure]:
    async with mesh_workers(folder) as mesh:
        stubs = {name: await mesh.start(name, core, max_tasks="1") for name, core in zip("ab", cores[-2:], strict=True)}
        # It waits for messages that never come.
        await mesh.client.jetstream().add_stream(name="quiet", subjects=["quiet"])
        source = {"op": "source", "uri": "nats://quiet", "schema": {"n": "int"}}
        pipeline = _pipeline(source, {"twice": "n * 2"}, "collection:out")
        await stubs["a"].SubmitJob(pb.SubmitJobRequest(pipeline=pipeline, job_id="quiet"))
        first = await running_on(stubs["a"], "quiet")
        other = stubs["b" if first == "a" else "a"]
        leases = await mesh.client.jetstream().key_value(subjects.BUCKET_TASK_LEASES)
        mesh.processes[first].kill()
        killed = time.perf_counter()
        while True:
            try:
                await leases.get(subjects.task_key("quiet", 0))
            except (KeyNotFoundError, KeyDeletedError):
                break
            await asyncio.sleep(0.01)
        lapsed = time.perf_counter()
        await running_on(other, "quiet", first)
        again = time.perf_counter()
        await other.CancelJob(pb.CancelJobRequest(job_id="quiet"))
    return [
        Figure("recovery after the lease has lapsed", again - lapsed, "s", 5, at_most=True),
        Figure("recovery after the kill", again - killed, "s"),
    ]


async def _shared_work(folder: Path, cores: list[int], workers: int, events: int) -> WorkSpent:
    """Return what the job took."""
    async with mesh_workers(folder) as mesh:
        rows = events // _FILES
        for number in range(_FILES):
            pl.DataFrame({"n": range(number * rows, (number + 1) * rows)}).write_parquet(folder / f"{number}.parquet")
        source = {"op": "source", "uri": f"parquet:{folder}/*.parquet", "schema": {"n": "int"}}
        work = "+".join(f"SQRT(n + {step}) * LN(n + {step + 1})" for step in range(_STEPS))
        fields = {f"work_{number}": f"{work}+{number}" for number in range(_FIELDS)}
        pipeline = _pipeline(source, fields, "collection:out", where="work_0 < 0")
        options = {"max_tasks": "1", "placement": "spread"}
        names = [f"w{number}" for number in range(workers)]
        stubs = [await mesh.start(name, core, **options) for name, core in zip(names, cores[-2:], strict=False)]
        stub = stubs[0]
        # A worker counts once it has told the others of itself.
        await mesh.workers_known(workers)
        before, waited_before = await mesh.cpu_seconds(), await mesh.core_wait_seconds()
        began = time.perf_counter()
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=pipeline, job_id="work"))
        job = await ended(stub, "work")
        if job.tasks != workers:
            raise RuntimeError(f"the job was {job.tasks} tasks on {workers} workers")
        seconds = time.perf_counter() - began
        after, waited_after = await mesh.cpu_seconds(), await mesh.core_wait_seconds()
        return WorkSpent(
            seconds,
            max(now - was for now, was in zip(after, before, strict=True)),
            max(now - was for now, was in zip(waited_after, waited_before, strict=True)),
        )


def _pipeline(source: dict[str, Any], fields: dict[str, str], uri: str, where: str = "") -> str:
    nodes: dict[str, Any] = {"source": source, "map": {"op": "map", "in": ["source"], "fields": fields}}
    if where:
        nodes["some"] = {"op": "filter", "in": ["map"], "where": where}
    nodes["out"] = {"op": "sink", "in": [list(nodes)[-1]], "uri": uri}
    value = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "bench"}, "nodes": nodes}
    return json.dumps(value)
