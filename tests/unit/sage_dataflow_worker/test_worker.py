from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.eventually import eventually
from nats.errors import TimeoutError as NatsTimeoutError

from sage_common.errors import InvalidRequestError, NotFoundError
from sage_kernel.builder import Pipeline
from sage_platform import subjects


def shouting(*texts: str, **llm: Any) -> str:
    pipeline = Pipeline("shouting")
    source = pipeline.source(records=[{"text": text} for text in texts])
    source.llm("{text}", ordered=True, **llm).sink("collection:out")
    return pipeline.to_yaml()


async def test_a_plain_message_without_headers_is_a_job(workplace: Any) -> None:
    worker = await workplace.worker("one")
    worker.models.gate.set()
    sequence = await worker.publish(shouting("hi", "there"))
    job = await worker.until(f"job-{sequence}", "SUCCEEDED")
    assert (job.pipeline, job.worker_id, job.attempts, job.errors) == ("shouting", "one", 1, ())
    assert {node: (c.records_in, c.records_out) for node, c in job.progress.items()} == {
        "source": (0, 2), "llm": (2, 2), "sink": (2, 0),
    }  # fmt: skip
    records, end = await worker.results(job.job_id)
    assert [record["answer"] for record in records["records"]] == ["HI", "THERE"]
    assert end["end"] is True
    assert end["collections"] == {"out": 2}
    assert end["spec_hash"] == job.spec_hash
    info = await worker.ring.connection.jetstream().stream_info(subjects.JOBS_STREAM)
    assert info.state.messages == 0


async def test_json_with_a_job_id_runs_once_however_often_it_is_submitted(workplace: Any) -> None:
    worker = await workplace.worker("one")
    worker.models.gate.set()
    body = json.dumps(json.loads(Pipeline.from_yaml(shouting("hi")).build().canonical_json()))
    for headers in ({"Sage-Job-Id": "mine"}, {"Sage-Job-Id": "mine"}, {"Nats-Msg-Id": "mine"}):
        await worker.publish(body, headers)
    await worker.until("mine", "SUCCEEDED")
    assert (await worker.api.submit(body, "mine")).state.name == "SUCCEEDED"
    # The last message has been dealt with when a later job has.
    later = await worker.api.submit(shouting("later"), "later")
    await worker.until(later.job_id, "SUCCEEDED")
    assert worker.models.chats == 2
    assert len(await worker.results("mine")) == 2


async def test_a_jobs_work_is_its_tenants_whoever_takes_it_up(workplace: Any) -> None:
    worker = await workplace.worker("one")
    worker.models.gate.set()
    job = await worker.api.submit(shouting("hi"), "acmes", "acme")
    assert (await worker.until(job.job_id, "SUCCEEDED")).tenant == "acme"
    # One whose state was never written: the message alone says whose it is.
    await worker.publish(shouting("hi"), {"Sage-Job-Id": "rivals", "Sage-Tenant": "rival"})
    assert (await worker.until("rivals", "SUCCEEDED")).tenant == "rival"
    sequence = await worker.publish(shouting("hi"), {"Sage-Tenant": "x" * 1000})
    assert (await worker.until(f"job-{sequence}", "SUCCEEDED")).tenant == "default"
    assert list(dict.fromkeys(worker.models.tenants)) == ["acme", "rival", "default"]


@pytest.mark.parametrize("body", [b"nodes: {a: {op: sourse}}", b"\xff\xfe", b"", b"{", b"[1]"])
async def test_a_bad_pipeline_is_a_failed_job_with_all_its_errors(workplace: Any, body: bytes) -> None:
    worker = await workplace.worker("one")
    sequence = await worker.publish(body, {"Sage-Job-Id": "bad"})
    job = await worker.until("bad", "FAILED")
    assert job.message == sequence
    assert job.attempts == 0
    assert job.errors
    if b"sourse" in body:
        assert len(job.errors) == 4
        assert any("did you mean 'source'" in error for error in job.errors)


async def test_a_bad_job_id_is_a_failed_job_too(workplace: Any) -> None:
    worker = await workplace.worker("one")
    sequence = await worker.publish(shouting("hi"), {"Sage-Job-Id": "a b"})
    job = await worker.until(f"job-{sequence}", "FAILED")
    assert "'a b' cannot name a job" in job.errors[0]
    with pytest.raises(InvalidRequestError, match="cannot name a job"):
        await worker.api.submit(shouting("hi"), "a b")


async def test_a_bad_pipeline_submitted_by_call_is_a_failed_job_at_once(workplace: Any) -> None:
    worker = await workplace.worker("one")
    job = await worker.api.submit("nodes: {a: {op: sourse}}", "")
    assert job.state.name == "FAILED"
    assert await worker.api.get(job.job_id) == job
    errors, spec_hash = await worker.api.validate("nodes: {a: {op: sourse}}")
    assert (tuple(errors), spec_hash) == (job.errors, "")
    assert (await worker.api.validate(shouting("a")))[1] == Pipeline.from_yaml(shouting("a")).build().spec_hash


async def test_a_node_that_fails_fails_the_job_with_its_name(workplace: Any) -> None:
    worker = await workplace.worker("one")
    pipeline = Pipeline("p")
    pipeline.source(records=[{"text": 5}]).chunk().sink("collection:out")
    job = await worker.api.submit(pipeline.to_yaml(), "")
    failed = await worker.until(job.job_id, "FAILED")
    assert failed.errors == (
        "node 'chunk' (chunk) failed: field 'text' is int, expected text; at the record {'text': 5}",
    )
    assert await worker.results(job.job_id) == []


async def test_files_outside_the_allowed_roots_are_refused_all_at_once(workplace: Any, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "a.txt").write_text("hello")
    strict = await workplace.worker("strict")
    pipeline = Pipeline("p")
    pipeline.source(f"folder:{allowed}").sink(f"jsonl:{allowed}/out.jsonl")
    job = await strict.api.submit(pipeline.to_yaml(), "")
    assert [error.split(":")[0] for error in job.errors] == ["node 'source', field 'uri'", "node 'sink', field 'uri'"]
    assert "add its folder to dataflow_worker.allowed_roots" in job.errors[0]
    await strict.stop()
    worker = await workplace.worker("open", allowed_roots=(allowed,))
    job = await worker.api.submit(pipeline.to_yaml(), "")
    await worker.until(job.job_id, "SUCCEEDED")
    assert json.loads((allowed / "out.jsonl").read_text())["text"] == "hello"


async def test_a_job_calls_the_functions_that_the_worker_allows_and_no_others(workplace: Any) -> None:
    def calling(ref: str) -> str:
        pipeline = Pipeline("copies")
        pipeline.source(records=[{"n": 1}]).map(ref=ref, out={"n": "int"}).sink("collection:out")
        return pipeline.to_yaml()

    worker = await workplace.worker("one", functions=("copy:copy",))
    job = await worker.api.submit(calling("copy:copy"), "allowed")
    assert (await worker.until(job.job_id, "SUCCEEDED")).errors == ()
    assert (await worker.results("allowed"))[0]["records"] == [{"n": 1}]
    (error,) = (await worker.api.submit(calling("copy:deepcopy"), "refused")).errors
    assert "the function 'copy:deepcopy' is not allowed (allowed: copy:copy)" in error
    assert error.endswith("; add it to dataflow_worker.functions")


async def test_records_that_failed_are_published_as_dead_letters(workplace: Any) -> None:
    worker = await workplace.worker("one")
    pipeline = Pipeline("p")
    pipeline.source(records=[{"text": None}, {"text": "ok"}]).chunk(on_error="dlq").sink("collection:out")
    job = await worker.api.submit(pipeline.to_yaml(), "")
    await worker.until(job.job_id, "SUCCEEDED")
    js = worker.ring.connection.jetstream()
    letter = json.loads((await js.get_last_msg(subjects.DLQ_STREAM, subjects.dead_letters(job.job_id, "chunk"))).data)
    assert letter["record"] == {"text": None}
    assert letter["error"] == "field 'text' is NoneType, expected text"
    assert letter["spec_hash"] == job.spec_hash
    assert (await worker.results(job.job_id))[-1]["failed_records"] == 1


async def test_large_results_are_split_and_a_record_that_is_too_large_fails_the_job(workplace: Any) -> None:
    worker = await workplace.worker("one")
    pipeline = Pipeline("p")
    pipeline.source(records=[{"n": n, "text": "x" * 300} for n in range(2000)]).sink("collection:out")
    job = await worker.api.submit(pipeline.to_yaml(), "")
    await worker.until(job.job_id, "SUCCEEDED")
    *pieces, end = await worker.results(job.job_id)
    assert len(pieces) > 1
    assert [piece["first"] for piece in pieces] == [piece["records"][0]["n"] for piece in pieces]
    assert [record["n"] for piece in pieces for record in piece["records"]] == list(range(2000))
    assert end["collections"] == {"out": 2000}
    pipeline = Pipeline("p")
    pipeline.source(records=[{"text": "x" * (600 * 1024)}]).sink("collection:out")
    job = await worker.api.submit(pipeline.to_yaml(), "")
    failed = await worker.until(job.job_id, "FAILED")
    assert "jsonl sink" in failed.errors[0]


async def test_cancelling_stops_a_running_job_and_its_model_calls(workplace: Any) -> None:
    worker = await workplace.worker("one", progress_interval_seconds=60.0, ack_wait_seconds=300.0)
    other = await workplace.worker("two", max_jobs=1)
    job = await worker.api.submit(shouting("hi"), "")
    running = await worker.until(job.job_id, "RUNNING")
    at_work = worker if running.worker_id == "one" else other
    await asyncio.wait_for(at_work.models.asked.wait(), 10)
    cancelled = await other.api.cancel(job.job_id)
    assert cancelled.state.name == "CANCELLED"
    assert await other.api.cancel(job.job_id) == cancelled
    await eventually(lambda: at_work.models.cancelled == 1)
    js = worker.ring.connection.jetstream()

    async def acknowledged() -> bool:
        return (await js.stream_info(subjects.JOBS_STREAM)).state.messages == 0

    await eventually(acknowledged)
    assert await worker.api.get(job.job_id) == cancelled
    assert await worker.results(job.job_id) == []


async def test_a_job_cancelled_while_it_waits_never_runs(workplace: Any) -> None:
    worker = await workplace.worker("one", max_jobs=1)
    first = await worker.api.submit(shouting("first"), "first")
    await worker.until(first.job_id, "RUNNING")
    await asyncio.wait_for(worker.models.asked.wait(), 10)
    await worker.api.submit(shouting("second"), "second")
    third = await worker.api.submit(shouting("third"), "third")
    assert (await worker.api.cancel("second")).state.name == "CANCELLED"
    worker.models.gate.set()
    await worker.until(third.job_id, "SUCCEEDED")
    assert worker.models.chats == 2
    with pytest.raises(NotFoundError, match="no job 'none'"):
        await worker.api.cancel("none")


async def test_a_worker_takes_no_more_jobs_than_it_has_slots(workplace: Any) -> None:
    full = await workplace.worker("full", max_jobs=1)
    for name in ("a", "b", "c"):
        await full.api.submit(shouting(name), name)
    await asyncio.wait_for(full.models.asked.wait(), 10)
    info = await full.ring.connection.jetstream().consumer_info(subjects.JOBS_STREAM, "dataflow-workers")
    assert info.num_ack_pending == 1
    free = await workplace.worker("free", max_jobs=5)
    free.models.gate.set()
    full.models.gate.set()
    for name in ("a", "b", "c"):
        await full.until(name, "SUCCEEDED")


async def test_a_job_of_a_worker_that_vanished_is_run_by_another(workplace: Any) -> None:
    doomed = await workplace.worker("doomed")
    job = await doomed.api.submit(shouting("hi"), "")
    await doomed.until(job.job_id, "RUNNING")
    await asyncio.wait_for(doomed.models.asked.wait(), 10)
    heir = await workplace.worker("heir")
    heir.models.gate.set()
    await doomed.die()
    done = await heir.until(job.job_id, "SUCCEEDED")
    assert (done.worker_id, done.attempts) == ("heir", 2)
    assert len(await heir.results(job.job_id)) == 2


async def test_a_long_job_stays_with_its_worker(workplace: Any) -> None:
    worker = await workplace.worker("one", ack_wait_seconds=0.5)
    other = await workplace.worker("two", ack_wait_seconds=0.5, max_jobs=1)
    job = await worker.api.submit(shouting("hi"), "")
    running = await worker.until(job.job_id, "RUNNING")
    at_work = worker if running.worker_id == "one" else other
    # Three times the wait after which the queue would give it to another.
    await asyncio.sleep(1.5)
    at_work.models.gate.set()
    done = await worker.until(job.job_id, "SUCCEEDED")
    assert (done.worker_id, done.attempts) == (running.worker_id, 1)


async def test_a_stopping_worker_hands_its_jobs_over(workplace: Any) -> None:
    leaving = await workplace.worker("leaving", ack_wait_seconds=60.0)
    job = await leaving.api.submit(shouting("hi"), "")
    await leaving.until(job.job_id, "RUNNING")
    await asyncio.wait_for(leaving.models.asked.wait(), 10)
    heir = await workplace.worker("heir", ack_wait_seconds=60.0)
    await leaving.stop()
    # Not before: the task may be with the heir, and at its end, while the job is not yet.
    heir.models.gate.set()
    done = await heir.until(job.job_id, "SUCCEEDED")
    assert (done.worker_id, done.attempts) == ("heir", 2)


async def test_a_job_that_always_kills_its_worker_is_given_up(workplace: Any) -> None:
    job_id = "poison"
    for attempt in (1, 2):
        doomed = await workplace.worker(f"doomed-{attempt}", max_attempts=2, ack_wait_seconds=0.5)
        if attempt == 1:
            await doomed.api.submit(shouting("hi"), job_id)
        await asyncio.wait_for(doomed.models.asked.wait(), 10)
        await doomed.die()
    last = await workplace.worker("last", max_attempts=2, ack_wait_seconds=0.5)
    failed = await last.until(job_id, "FAILED")
    assert "started 2 times and never ended" in failed.errors[0]
    assert last.models.chats == 0


async def test_a_worker_that_was_cut_off_writes_nothing_over_its_heir(workplace: Any) -> None:
    slow = await workplace.worker("slow")
    job = await slow.api.submit(shouting("hi"), "")
    await slow.until(job.job_id, "RUNNING")
    await asyncio.wait_for(slow.models.asked.wait(), 10)
    stored = await slow.store.require(job.job_id)
    # Another worker takes the job over; this one still runs it.
    heirs = await slow.store.write(replace(stored.job, worker_id="heir", attempts=2), stored.revision)
    while heirs is None:  # progress was written in between
        stored = await slow.store.require(job.job_id)
        heirs = await slow.store.write(replace(stored.job, worker_id="heir", attempts=2), stored.revision)
    slow.models.gate.set()
    await eventually(lambda: slow.ended.labels(outcome="lost")._value.get() == 1)
    assert (await slow.store.require(job.job_id)).job.worker_id == "heir"
    info = await slow.ring.connection.jetstream().stream_info(subjects.JOBS_STREAM)
    assert info.state.messages == 1


@pytest.mark.parametrize("state", ["RUNNING", "SUCCEEDED"])
async def test_an_own_write_whose_answer_was_lost_is_not_taken_for_anothers(workplace: Any, state: str) -> None:
    worker = await workplace.worker("one")
    job = await worker.api.submit(shouting("hi"), "")
    await worker.until(job.job_id, "RUNNING")
    await asyncio.wait_for(worker.models.asked.wait(), 10)
    real_write, lost = worker.store.write, []

    async def write(job: Any, revision: int) -> Any:
        written = await real_write(job, revision)
        if not lost and written is not None and job.state.name == state:
            lost.append(written)
            raise NatsTimeoutError
        return written

    worker.store.write = write
    if state == "RUNNING":  # the job's progress, written before its model answers
        await eventually(lambda: bool(lost))
    worker.models.gate.set()
    done = await worker.until(job.job_id, "SUCCEEDED")
    assert (done.attempts, len(lost)) == (1, 1)
    await eventually(lambda: worker.ended.labels(outcome="succeeded")._value.get() == 1)
    info = await worker.ring.connection.jetstream().stream_info(subjects.JOBS_STREAM)
    assert info.state.messages == 0


async def test_jobs_are_listed_newest_first_by_every_worker(workplace: Any) -> None:
    one = await workplace.worker("one")
    two = await workplace.worker("two")
    one.models.gate.set()
    two.models.gate.set()
    for name in ("a", "b", "c"):
        await one.api.submit(shouting(name), name)
        await one.until(name, "SUCCEEDED")
    await two.until("c", "SUCCEEDED")
    assert [job.job_id for job in two.api.newest(0)] == ["c", "b", "a"]
    assert [job.job_id for job in two.api.newest(2)] == ["c", "b"]


async def test_a_lost_stream_is_made_again(workplace: Any) -> None:
    worker = await workplace.worker("one")
    worker.models.gate.set()
    js = worker.ring.connection.jetstream()
    await js.delete_stream(subjects.JOBS_STREAM)

    async def stream_is_back() -> bool:
        return subjects.JOBS_STREAM in {info.config.name for info in await js.streams_info()}

    await eventually(stream_is_back)
    job = await worker.api.submit(shouting("hi"), "")
    await worker.until(job.job_id, "SUCCEEDED")


async def test_work_goes_on_after_nats_was_restarted(workplace: Any, own_nats: Any) -> None:
    worker = await workplace.worker("one", ack_wait_seconds=6.0)
    job = await worker.api.submit(shouting("hi"), "")
    await worker.until(job.job_id, "RUNNING")
    await asyncio.wait_for(worker.models.asked.wait(), 10)
    own_nats.stop()
    own_nats.start_again()
    worker.models.gate.set()
    done = await worker.until(job.job_id, "SUCCEEDED")
    assert done.attempts == 1
    again = await worker.api.submit(shouting("again"), "")
    await worker.until(again.job_id, "SUCCEEDED")
