from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fixtures.eventually import eventually

from sage_common.errors import ConflictError, UnavailableError
from sage_dataflow_worker import worker as job_worker
from sage_dataflow_worker.job import JobState
from sage_dataflow_worker.pipeline_reader import READER_NOT_STARTED
from sage_kernel.builder import Pipeline
from sage_platform import subjects


def shouting(*texts: str, **llm: Any) -> str:
    pipeline = Pipeline("shouting")
    source = pipeline.source(records=[{"text": text} for text in texts])
    source.llm("{text}", ordered=True, **llm).sink("collection:out")
    return pipeline.to_yaml()


def files_of(folder: Path, files: int, rows: int) -> str:
    folder.mkdir()
    for number in range(files):
        frame = pl.DataFrame({"n": range(number * rows, (number + 1) * rows)})
        frame.write_parquet(folder / f"part-{number}.parquet")
    value = {
        "apiVersion": "sage/v1",
        "kind": "Pipeline",
        "metadata": {"name": "squares"},
        "nodes": {
            "numbers": {"op": "source", "uri": f"parquet:{folder}/*.parquet", "schema": {"n": "int"}},
            "squares": {"op": "map", "in": ["numbers"], "fields": {"square": "n * n"}},
            "out": {"op": "sink", "in": ["squares"], "uri": "collection:out"},
        },
    }
    return json.dumps(value)


def squares_of(messages: list[dict[str, Any]]) -> list[int]:
    return sorted(record["square"] for message in messages if "records" in message for record in message["records"])


async def test_files_are_shared_out_over_the_tasks_of_two_workers(workplace: Any, tmp_path: Path) -> None:
    pipeline = files_of(tmp_path / "in", 6, 100)
    options = {"max_tasks": 2, "allowed_roots": (tmp_path,), "placement": "spread"}
    workers = [await workplace.worker(name, **options) for name in ("a", "b")]
    await eventually(lambda: all(w.assembly.nodes.total_slots() == 4 for w in workers))
    job = await workers[0].api.submit(pipeline, "squares")
    done = await workers[0].until(job.job_id, "SUCCEEDED")
    assert (done.tasks, done.plan) == (4, "4 tasks over 6 splits, bounded by the workers' slots")
    _, tasks = await workers[0].assembly.control.explain("squares")
    assert {task.worker_id for task in tasks} == {"a", "b"}
    assert all(task.placement.reason.startswith("spread: score") for task in tasks)
    messages = await workers[0].results("squares")
    assert squares_of(messages) == [n * n for n in range(600)]
    assert messages[-1]["collections"] == {"out": 600}
    assert done.progress["squares"].records_in == 600


async def test_a_job_that_no_worker_can_take_waits_and_says_why(workplace: Any) -> None:
    worker = await workplace.worker("one")
    value = json.loads(json.dumps(Pipeline.from_yaml(shouting("hi")).build().to_dict()))
    value["nodes"]["llm"]["num_gpus"] = 2
    job = await worker.api.submit(json.dumps(value), "greedy")

    async def says_why() -> bool:
        return bool((await worker.api.get(job.job_id)).waiting)

    await eventually(says_why)
    why = (await worker.api.get(job.job_id)).waiting
    assert why == "task 0: no worker can take it: one: has 0 of 0 GPUs free, needed 2"
    assert (await worker.api.cancel(job.job_id)).state.name == "CANCELLED"


async def _no_memory() -> Any:
    raise UnavailableError("no memory for a reader", code=READER_NOT_STARTED, retryable=True)


def _has_no_reader(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_worker, "_READ_AGAIN_SECONDS", 0.1)
    for reader in worker.assembly.admission._readers:
        monkeypatch.setattr(reader, "_running_child", _no_memory)


async def test_a_job_whose_pipeline_cannot_be_read_waits_and_is_not_counted_as_started(
    workplace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await workplace.worker("one", max_attempts=1)
    worker.models.gate.set()
    with monkeypatch.context() as without:
        _has_no_reader(worker, without)
        await worker.publish(shouting("hi"), {"Sage-Job-Id": "patient"})

        async def waits() -> bool:
            job = await worker.store.get("patient")
            return job is not None and job.job.waiting == "no memory for a reader"

        await eventually(waits)
    done = await worker.until("patient", "SUCCEEDED", "FAILED")
    assert (done.state.name, done.attempts, done.waiting) == ("SUCCEEDED", 1, "")


async def test_a_task_whose_pipeline_cannot_be_read_goes_to_another_worker(
    workplace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"max_tasks": 1, "allowed_roots": (tmp_path,), "placement": "spread", "max_attempts": 1}
    able, unable = [await workplace.worker(name, **options) for name in ("able", "unable")]
    await eventually(lambda: all(w.assembly.nodes.total_slots() == 2 for w in (able, unable)))
    _has_no_reader(unable, monkeypatch)
    # One of two tasks is placed on each.
    await able.publish(files_of(tmp_path / "in", 2, 10), {"Sage-Job-Id": "squares"})
    done = await able.until("squares", "SUCCEEDED", "FAILED")
    assert (done.state.name, done.tasks) == ("SUCCEEDED", 2)
    _, tasks = await able.assembly.control.explain("squares")
    assert {task.worker_id for task in tasks} == {"able"}
    assert squares_of(await able.results("squares")) == [n * n for n in range(20)]


async def test_a_paused_job_goes_on_where_it_was(workplace: Any) -> None:
    worker = await workplace.worker("one")
    job = await worker.api.submit(shouting("hi", "there"), "mine")
    await asyncio.wait_for(worker.models.asked.wait(), 20)
    paused = await worker.assembly.control.pause(job.job_id)
    assert paused.state.name == "PAUSED"

    # Nothing that comes now is read before the job goes on.
    _, (task,) = await worker.assembly.control.explain("mine")
    assert task.state.value == "paused"
    chats = worker.models.chats
    worker.models.gate.set()
    _, plan = await worker.assembly.control.resume("mine", only_plan=True)
    assert [line.partition(":")[0] for line in plan] == ["source", "llm", "sink"]
    resumed, _ = await worker.assembly.control.resume("mine")
    assert resumed.state.name in ("PENDING", "RUNNING")
    await worker.until("mine", "SUCCEEDED")
    assert worker.models.chats == chats + 2
    records = [r["answer"] for m in await worker.results("mine") if "records" in m for r in m["records"]]
    assert sorted(records) == ["HI", "THERE"]
    with pytest.raises(ConflictError, match="is succeeded"):
        await worker.assembly.control.pause("mine")


@pytest.mark.parametrize("order", ["cancel", "resume"])
async def test_a_job_that_was_given_another_order_while_it_stopped_is_not_resumed(
    workplace: Any, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await workplace.worker("one")
    job = await worker.api.submit(shouting("hi"), "mine")
    await asyncio.wait_for(worker.models.asked.wait(), 20)
    control = worker.assembly.control
    await control.pause(job.job_id)
    worker.models.gate.set()
    until_stopped = control._until_stopped

    async def meanwhile(job_id: str) -> None:
        monkeypatch.setattr(control, "_until_stopped", until_stopped)
        await (worker.api.cancel(job_id) if order == "cancel" else control.resume(job_id))

    monkeypatch.setattr(control, "_until_stopped", meanwhile)
    with pytest.raises(ConflictError, match="can be resumed"):
        await control.resume("mine")
    await worker.until("mine", "CANCELLED" if order == "cancel" else "SUCCEEDED")


@pytest.mark.parametrize("message_was_sent", [False, True])
async def test_a_job_whose_worker_died_as_it_resumed_it_is_sent_on_by_another_once(
    workplace: Any, message_was_sent: bool
) -> None:
    """Between the state and the message, or between the message and the note of it."""
    worker = await workplace.worker("one", max_jobs=1)
    await worker.api.submit(shouting("hi", "there"), "mine")
    await asyncio.wait_for(worker.models.asked.wait(), 20)
    await worker.assembly.control.pause("mine")
    # What the dead one has left is not taken up before it is seen.
    await worker.api.submit(shouting("another"), "busy")
    await worker.until("busy", "RUNNING")
    await eventually(lambda: worker.assembly.worker._runs.keys() == {"busy"})
    stored = await worker.store.get("mine")
    left = replace(stored.job, state=JobState.PENDING, message=0, attempts=0, resumes=stored.job.resumes + 1)
    assert await worker.store.write(left, stored.revision) is not None
    resumptions = worker.assembly.resumptions
    if message_was_sent:
        await resumptions.send(left, shouting("hi", "there").encode())
    await eventually(lambda: worker.store.latest("mine") == left)
    await resumptions.send_lost()
    assert (await worker.api.get("mine")).message == 0, "its worker may live, and be about to send it"
    await resumptions.send_lost(silent_seconds=0.0)
    sent = await worker.api.get("mine")
    assert (sent.state.name, sent.message > stored.job.message) == ("PENDING", True)
    js = worker.ring.connection.jetstream()
    assert (await js.stream_info(subjects.JOBS_STREAM)).state.messages == 2  # this one, and the busy one's
    worker.models.gate.set()
    await worker.until("mine", "SUCCEEDED")
    records = [r["answer"] for m in await worker.results("mine") if "records" in m for r in m["records"]]
    assert sorted(records) == ["HI", "THERE"]


async def test_every_failure_is_a_letter_and_letters_can_be_replayed(workplace: Any) -> None:
    worker = await workplace.worker("one")
    pipeline = Pipeline("p")
    rows = [{"text": None if n % 2 else f"text {n}", "n": n} for n in range(6000)]
    pipeline.source(records=rows).chunk(on_error="dlq").sink("collection:out")
    job = await worker.api.submit(pipeline.to_yaml(), "letters")
    await worker.until(job.job_id, "SUCCEEDED")
    letters, total = await worker.assembly.records.letters("letters", limit=5)
    assert (total, len(letters)) == (3000, 5)
    assert letters[0].record == {"text": None, "n": 1}
    again, records = await worker.assembly.records.replay("letters", "chunk", "again")
    assert records == 3000
    done = await worker.until(again.job_id, "SUCCEEDED")
    assert done.progress["chunk"].records_failed == 3000


async def test_results_are_there_while_the_job_runs(workplace: Any) -> None:
    worker = await workplace.worker("one")
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"text": "hi"}])
    source.sink("collection:early")
    source.llm("{text}").sink("collection:late")
    job = await worker.api.submit(pipeline.to_yaml(), "mine")
    pieces = worker.assembly.records.results(job.job_id, follow=True) if await _running(worker, "mine") else None
    assert pieces is not None
    first = await asyncio.wait_for(anext(pieces), 20)
    assert (first.collection, first.records) == ("early", [{"text": "hi"}])
    assert (await worker.api.get("mine")).state.name == "RUNNING"
    worker.models.gate.set()
    rest = [piece async for piece in pieces]
    assert [piece.collection for piece in rest] == ["late", ""]
    assert rest[-1].end is not None
    assert rest[-1].end["collections"] == {"early": 1, "late": 1}


async def _running(worker: Any, job_id: str) -> bool:
    return bool(await worker.until(job_id, "RUNNING"))
