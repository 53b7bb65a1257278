"""Jobs that no document allows, and data that fits no schema: each is a failed job with its reasons, or a dead letter
with its record, and the worker that took them goes on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import orjson
import polars as pl
import pytest
from fixtures.eventually import eventually
from fixtures.one_worker import THREE, OneWorker, collected, one_worker, pipeline
from fixtures.small_disk import small_disk

from sage.dataflow.v1 import dataflow_pb2 as pb

FUNCTIONS = """
import sys
def divides(record): return {"q": 10 // record["n"]}
def exits(record): sys.exit(3)
def stops(record): raise StopIteration
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneWorker]:
    with one_worker(tmp_path_factory.mktemp("bad-jobs"), {"odd_functions": FUNCTIONS}, MEMORY_LIMIT_MB="600") as made:
        yield made


async def records_out(stub: Any, job_id: str, node: str) -> int:
    with contextlib.suppress(grpc.RpcError):  # the job has no state yet
        job = (await stub.GetJob(pb.GetJobRequest(job_id=job_id))).job
        return next((progress.records_out for progress in job.progress if progress.node_id == node), 0)
    return 0


async def has_come(stub: Any, job_id: str, node: str) -> bool:
    """Whether a job has records of a node."""
    return await records_out(stub, job_id, node) > 0


async def test_whatever_is_wrong_with_a_pipeline_is_said_at_once(worker: OneWorker) -> None:
    secret = worker.data.parent / "secret.jsonl"
    secret.write_text('{"n": 1}\n')
    (worker.data / "link.jsonl").symlink_to(secret)
    (worker.data / "away").symlink_to(worker.data.parent)
    wrong: dict[str, dict[str, Any]] = {
        "round": {"op": "map", "in": "about", "fields": {"x": "1"}},
        "about": {"op": "map", "in": "round", "fields": {"x": "1"}},
        "unknown": {"op": "fliter", "in": "s"},
        "subquery": {"op": "filter", "in": "s", "where": "n IN (SELECT n FROM t)"},
        "table": {"op": "filter", "in": "s", "where": "read_csv('/etc/passwd')"},
        "typed": {"op": "filter", "in": "s", "where": "t + 1"},
        "timeless": {"op": "window", "in": "s", "tumbling": "1m"},
        "function": {"op": "map", "in": "s", "ref": "os:system", "out": {"x": "int"}},
        "path": {"op": "source", "uri": "jsonl:/etc/passwd"},
        "dots": {"op": "source", "uri": f"jsonl:{worker.data}/../secret.jsonl"},
        "link": {"op": "source", "uri": f"jsonl:{worker.data}/link.jsonl"},
        "folder_link": {"op": "source", "uri": f"jsonl:{worker.data}/away/secret.jsonl"},
        "host": {"op": "source", "uri": "http://169.254.169.254/latest", "schema": {"n": "int"}},
        "subject": {"op": "source", "uri": "nats://sage.v1.dispatch.x", "schema": {"n": "int"}},
    }
    ends = {"end": {"op": "sink", "in": [name for name in wrong if name != "about"], "uri": "collection:out"}}
    errors = await worker.failed("everything", pipeline(s=THREE, **wrong, **ends))
    for node in set(wrong) - {"round", "about"}:
        assert any(error.startswith(f"node {node!r}") for error in errors), (node, errors)
    assert any("it depends on itself: " in error for error in errors)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#" + "x" * 10_000_000, "has 10000001 bytes; keep it below 1048576"),
        ("a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(9)), "aliases are not allowed"),
        ("", "it is empty, expected a mapping"),
        ("[" * 100_000, "nested too deeply"),
    ],
    ids=["10 MB", "aliases", "empty", "deep"],
)
async def test_a_text_that_is_no_pipeline_is_a_failed_job(worker: OneWorker, text: str, why: str) -> None:
    (error,) = await worker.failed(f"text-{len(text)}", text)
    assert why in error


@pytest.mark.parametrize("function", ["divides", "exits", "stops"])
async def test_a_record_that_a_function_dies_of_is_a_dead_letter(worker: OneWorker, function: str) -> None:
    node = {"op": "map", "in": "s", "ref": f"odd_functions:{function}", "out": {"q": "int"}, "on_error": "dlq"}
    passed = await worker.succeeded(f"f-{function}", pipeline(s=THREE, m=node, o=collected("m")))
    letters = await worker.dead_letters(f"f-{function}", "m")
    assert sorted([*(r["n"] for r in passed), *(letter["record"]["n"] for letter in letters)]) == [0, 1, 2]
    assert all(letter["error"] and letter["spec_hash"] for letter in letters)
    assert len(passed) == (2 if function == "divides" else 0)


async def test_a_record_that_an_expression_cannot_compute_names_itself(worker: OneWorker) -> None:
    far = {"op": "map", "in": "s", "fields": {"x": "CAST(n * 9000000000000000000 AS TIMESTAMP)"}}
    passed = await worker.succeeded("far", pipeline(s=THREE, m={**far, "on_error": "dlq"}, o=collected("m")))
    assert [record["n"] for record in passed] == [0]
    assert "outside the years 1 to 9999" in (await worker.dead_letters("far", "m"))[0]["error"]
    (error,) = await worker.failed("far-fails", pipeline(s=THREE, m=far, o=collected("m")))
    assert "node 'm' (map) failed: field 'x'" in error
    assert "at the record {'n': 1" in error


async def test_times_that_are_none_are_dead_letters_and_close_no_windows(worker: OneWorker) -> None:
    times = [
        '"2024-01-01T00:00:01Z"', "null", '"NaN"', "NaN", "1e400", '"9999-12-31T23:59:59Z"', '"99999-01-01"', "12",
        '"2024-01-01T00:00:02Z"',
    ]  # fmt: skip
    lines = [f'{{"id": {number}, "ts": {time}}}' for number, time in enumerate(times)]
    (worker.data / "times.jsonl").write_text("\n".join([*lines, "not json", '{"id": 11', ""]))
    source = {
        "op": "source", "uri": f"jsonl:{worker.data}/times.jsonl", "schema": {"id": "int", "ts": "timestamp"},
        "event_time": "ts",
    }  # fmt: skip
    window = {"op": "window", "in": "s", "tumbling": "1m"}
    count = {"op": "aggregate", "in": "w", "aggs": {"ids": "list(id)"}}
    nodes = {"w": window, "a": count, "o": collected("a")}
    (record,) = await worker.succeeded("times", pipeline(s={**source, "on_error": "dlq"}, **nodes))
    assert record["ids"] == [0, 8]
    letters = await worker.dead_letters("times", "s")
    assert len(letters) == len(times) - 2 + 2
    (error,) = await worker.failed("times-fail", pipeline(s=source, **nodes))
    assert "node 's' (source) failed: " in error
    assert "at the record" in error


async def test_a_schema_that_drifts_costs_the_records_that_do_not_fit(worker: OneWorker) -> None:
    folder = worker.data / "drift"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"n": 1, "t": "a"}\n{"n": 2, "t": "b"}\n')
    (folder / "b.jsonl").write_text('{"n": "three", "t": "c"}\n{"t": 4, "n": 4}\n{"n": 5, "more": 1}\n')
    lines = {"op": "source", "uri": f"jsonl:{folder}/*.jsonl"}
    passed = await worker.succeeded("drift", pipeline(s={**lines, "on_error": "dlq"}, o=collected("s")))
    assert sorted(record["n"] for record in passed) == [1, 2, 4, 5]
    (letter,) = await worker.dead_letters("drift", "s")
    assert letter["record"] == {"raw": '{"n": "three", "t": "c"}', "place": "b.jsonl:1"}
    (error,) = await worker.failed("drift-fail", pipeline(s=lines, o=collected("s")))
    assert "field 'n' is \"three\", not 'int'" in error


async def test_files_of_parquet_that_lack_fields_or_change_their_types_end(worker: OneWorker) -> None:
    folder = worker.data / "parquet"
    folder.mkdir()
    pl.DataFrame({"n": [1, 2]}).write_parquet(folder / "a.parquet")
    pl.DataFrame({"n": ["x", "3"]}).write_parquet(folder / "b.parquet")
    pl.DataFrame({"m": [9, 9]}).write_parquet(folder / "c.parquet")
    source = {"op": "source", "uri": f"parquet:{folder}/*.parquet", "schema": {"n": "int"}, "on_error": "dlq"}
    passed = await worker.succeeded("parquet", pipeline(s=source, o=collected("s")))
    assert sorted(str(record["n"]) for record in passed) == ["1", "2", "3", "None", "None"]
    (letter,) = await worker.dead_letters("parquet", "s")
    assert letter["record"] == {"raw": '{"n":"x"}', "place": "b.parquet, row 1"}


async def test_a_record_over_the_limit_is_left_out_once_and_the_others_come_once(worker: OneWorker) -> None:
    count, large = 9_000, 7_000
    texts = pl.DataFrame({"n": range(count), "t": ["x" * (600_000 if n == large else 3) for n in range(count)]})
    texts.write_parquet(worker.data / "large.parquet")
    source = {"op": "source", "uri": f"parquet:{worker.data}/large.parquet", "schema": {"n": "int", "t": "string"}}
    others = [n for n in range(count) if n != large]

    passed = await worker.succeeded("large-in", pipeline(s={**source, "on_error": "dlq"}, o=collected("s")))
    assert sorted(record["n"] for record in passed) == others
    (letter,) = await worker.dead_letters("large-in", "s")
    assert letter["record"]["place"] == f"large.parquet, row {large + 1}"

    wide = {**source, "max_record_bytes": 2_000_000}
    passed = await worker.succeeded("large-out", pipeline(s=wide, o=collected("s", on_error="dlq")))
    assert sorted(record["n"] for record in passed) == others
    (letter,) = await worker.dead_letters("large-out", "o")
    assert (letter["record"]["n"], len(letter["record"]["t"])) == (large, 600_000)

    (error,) = await worker.failed("large-fails", pipeline(s=wide, o=collected("s")))
    assert f"record {large} of collection 'out' has" in error


async def test_a_full_disk_holds_a_job_up_and_loses_nothing(worker: OneWorker) -> None:
    count = 60_000
    pl.DataFrame({"n": range(count), "t": ["y" * 90] * count}).write_parquet(worker.data / "rows.parquet")
    source = {"op": "source", "uri": f"parquet:{worker.data}/rows.parquet"}
    with small_disk(worker.data / "disk", megabytes=8) as disk:
        ballast = disk.path / "half"
        ballast.write_bytes(bytes(6_000_000))
        sink = {"op": "sink", "in": "s", "uri": f"jsonl:{disk.path}/out.jsonl"}
        running = asyncio.create_task(worker.run("full-disk", pipeline(s=source, o=sink)))
        async with worker.stub() as stub:
            await eventually(lambda: has_come(stub, "full-disk", "s"))
        assert await worker.succeeded("meanwhile", pipeline(s=THREE, o=collected("s")))
        assert not running.done()
        ballast.unlink()
        job = await running
        assert (job.state, list(job.errors)) == (pb.JOB_STATE_SUCCEEDED, [])
        with (disk.path / "out.jsonl").open("rb") as lines:
            assert [orjson.loads(line)["n"] for line in lines] == list(range(count))


async def test_a_sink_that_does_not_answer_holds_its_source_back(worker: OneWorker) -> None:
    rows = 400_000
    pl.DataFrame({"n": range(rows), "t": ["z" * 200] * rows}).write_parquet(worker.data / "many.parquet")
    # Connections are opened by the system, and nobody ever answers.
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}/"
        sink = {"op": "sink", "in": "s", "uri": uri, "id": "{n}", "concurrency": 4}
        text = pipeline(s={"op": "source", "uri": f"parquet:{worker.data}/many.parquet"}, o=sink)
        async with worker.stub() as stub:
            await _holds_back(worker, stub, text, rows)


async def _holds_back(worker: OneWorker, stub: Any, text: str, rows: int) -> None:
    await stub.SubmitJob(pb.SubmitJobRequest(pipeline=text, job_id="slow"))

    await eventually(lambda: has_come(stub, "slow", "s"))
    before = await records_out(stub, "slow", "s")
    # Others run meanwhile, which takes longer than the next batch would.
    assert await worker.succeeded("beside", pipeline(s=THREE, o=collected("s")))
    assert await records_out(stub, "slow", "s") == before < rows / 2
    await stub.CancelJob(pb.CancelJobRequest(job_id="slow"))


async def test_a_state_that_fills_the_memory_fails_its_job_and_not_its_worker(worker: OneWorker) -> None:
    rows = 4_000_000
    texts = pl.select(pl.int_range(rows).cast(pl.String).str.zfill(100).alias("t"))
    texts.write_parquet(worker.data / "texts.parquet", compression="lz4")
    source = {"op": "source", "uri": f"parquet:{worker.data}/texts.parquet"}
    every = {"op": "aggregate", "in": "s", "aggs": {"all": "list(t)"}}
    (error,) = await worker.failed("memory", pipeline(s=source, a=every, o=collected("a")))
    assert "node 'a' (aggregate) failed: its state holds" in error
    assert error.endswith("or raise dataflow_worker.memory_limit_mb")
    assert await worker.succeeded("after", pipeline(s=THREE, o=collected("s")))


async def test_nats_gone_and_back_costs_a_running_job_nothing(worker: OneWorker) -> None:
    rows = 300_000
    pl.DataFrame({"n": range(rows)}).write_parquet(worker.data / "long.parquet", row_group_size=5_000)
    source = {"op": "source", "uri": f"parquet:{worker.data}/long.parquet", "schema": {"n": "int"}}
    double = {"op": "map", "in": "s", "fields": {"twice": "n * 2"}}
    text = pipeline(s=source, m=double, o=collected("m"))
    async with worker.stub() as stub:
        await stub.SubmitJob(pb.SubmitJobRequest(pipeline=text, job_id="outage"))

        await eventually(lambda: has_come(stub, "outage", "s"))
        worker.nats.kill()
        worker.nats.start_again()

        async def job() -> pb.Job:
            return (await stub.GetJob(pb.GetJobRequest(job_id="outage"))).job

        async def has_ended() -> bool:
            with contextlib.suppress(grpc.RpcError):
                return (await job()).state not in (pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING)
            return False

        await eventually(has_ended, seconds=60)
        done = await job()
    assert (done.state, list(done.errors)) == (pb.JOB_STATE_SUCCEEDED, [])
    assert worker.process.poll() is None
    numbers = [record["n"] for record in await worker.records("outage")]
    assert sorted(numbers) == list(range(rows))
