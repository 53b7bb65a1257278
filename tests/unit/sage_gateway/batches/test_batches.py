"""Batches from upload to result files, with the real ``openai`` client."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import orjson
import pytest
from fixtures.batch_client import batch_when, chat_line, client_of, ended_batch, lines_of, started_batch
from fixtures.engines import CHAT_MODEL, EMBEDDING_MODEL
from fixtures.eventually import eventually
from fixtures.marked_work import is_unmarked
from fixtures.mesh import Mesh

from sage_control_plane.request.request import ServiceClass
from sage_platform import subjects


async def test_a_batch_is_answered_into_a_file(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    content = b"".join(chat_line(f"r{number}", f"say {number}") for number in range(40))
    batch = await started_batch(client, content, metadata={"team": "search"})
    assert batch.status == "validating"
    assert batch.metadata == {"team": "search"}
    assert batch.expires_at == batch.created_at + 86_400
    batch = await ended_batch(client, batch.id)
    assert batch.status == "completed"
    assert batch.errors is None
    assert batch.error_file_id is None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (40, 40, 0)
    assert batch.model == CHAT_MODEL
    assert batch.usage.input_tokens == batch.usage.output_tokens == 80
    found = await lines_of(client, batch.output_file_id)
    assert {f"r{number}" for number in range(40)} == set(found)
    answer = found["r7"]
    assert answer["error"] is None
    assert answer["response"]["status_code"] == 200
    assert answer["response"]["body"]["choices"][0]["message"]["content"] == "SAY 7"
    assert answer["response"]["request_id"].startswith("req-")
    output = await client.files.retrieve(batch.output_file_id)
    assert output.purpose == "batch_output"
    assert output.filename == f"{batch.id}_output.jsonl"


async def test_a_batch_that_has_ended_leaves_no_mark_and_no_log(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    await ended_batch(client, (await started_batch(client, chat_line("r", "say this"))).id)
    await eventually(lambda: is_unmarked(mesh, subjects.BUCKET_OPEN_BATCHES, mesh.name))
    logs = await mesh.ring.connection.jetstream().stream_info(
        subjects.BATCH_RESULTS_STREAM, subjects_filter=subjects.batch_results(mesh.name, "*")
    )
    assert not logs.state.subjects


async def test_requests_of_a_batch_are_bulk_work_of_its_tenant(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    batch = await started_batch(client, chat_line("r", "say this"))
    await ended_batch(client, batch.id)
    (job,) = mesh.engine.jobs
    assert job.hints.service_class is ServiceClass.BULK
    assert job.tenant == mesh.name


async def test_a_broken_line_fails_and_the_rest_runs(client: openai.AsyncOpenAI) -> None:
    content = b"".join(
        [
            chat_line("good", "say this"),
            b'{"custom_id": "half", \n',
            b"\n",
            chat_line("elsewhere", "x", url="/v1/embeddings"),
            chat_line("put", "x", method="PUT"),
            b"[1]\n",
            orjson.dumps({"custom_id": "bare", "method": "POST", "url": "/v1/chat/completions"}) + b"\n",
            chat_line("refused", "please refuse"),
            chat_line("last", "say that").rstrip(),
        ]
    )
    batch = await ended_batch(client, (await started_batch(client, content)).id)
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (8, 2, 6)
    assert set(await lines_of(client, batch.output_file_id)) == {"good", "last"}
    raw = (await client.files.content(batch.error_file_id)).read().splitlines()
    errors = [orjson.loads(one) for one in raw]
    by_id = {error["custom_id"]: error["response"] for error in errors if error["custom_id"] is not None}
    assert set(by_id) == {"elsewhere", "put", "bare", "refused"}
    assert by_id["refused"]["status_code"] == 422
    assert by_id["refused"]["body"]["error"]["message"] == "guided_json is not a schema"
    assert by_id["elsewhere"]["body"]["error"]["code"] == "mismatched_endpoint"
    assert by_id["bare"]["body"]["error"]["param"] == "body"
    nameless = [error["response"]["body"]["error"]["code"] for error in errors if error["custom_id"] is None]
    assert nameless == ["invalid_json_line", "invalid_json_line"]


async def test_a_file_with_a_custom_id_twice_is_refused_by_name(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    content = (
        chat_line("a", "x") + chat_line("b", "x") + chat_line("a", "y") + chat_line("c", "x") + chat_line("b", "y")
    )
    batch = await ended_batch(client, (await started_batch(client, content)).id)
    assert batch.status == "failed"
    assert batch.output_file_id is None
    assert batch.failed_at is not None
    assert [(error.code, error.line) for error in batch.errors.data] == [
        ("duplicate_custom_id", 3),
        ("duplicate_custom_id", 5),
    ]
    assert "'a' is that of line 1" in batch.errors.data[0].message
    assert mesh.engine.jobs == []


@pytest.mark.parametrize("content", [b"\n \n", b""])
async def test_a_file_without_requests_fails(client: openai.AsyncOpenAI, content: bytes) -> None:
    batch = await ended_batch(client, (await started_batch(client, content)).id)
    assert batch.status == "failed"
    assert batch.errors.data[0].code == "empty_file"


async def test_a_failing_engine_is_tried_again(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    tries: list[str] = []
    answer = mesh.engine.behaviour

    async def break_twice(job: Any, reply: Any) -> None:
        tries.append(job.request_id)
        if len(tries) < 3:
            job = job.replace(body=job.body.replace(b"say this", b"break"))
        await answer(job, reply)

    mesh.engine.behaviour = break_twice
    batch = await ended_batch(client, (await started_batch(client, chat_line("r", "say this"))).id)
    assert batch.request_counts.completed == 1
    assert len(tries) == 3


async def test_embeddings_completions_and_responses_are_run(client: openai.AsyncOpenAI) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/embeddings": {"model": EMBEDDING_MODEL, "input": ["a", "b"]},
        "/v1/completions": {"model": CHAT_MODEL, "prompt": "say this"},
        "/v1/responses": {"model": CHAT_MODEL, "input": "say this"},
    }
    answers = {}
    for url, body in bodies.items():
        content = orjson.dumps({"custom_id": "r", "method": "POST", "url": url, "body": body})
        batch = await ended_batch(client, (await started_batch(client, content, endpoint=url)).id)
        assert batch.status == "completed"
        answers[url] = (await lines_of(client, batch.output_file_id))["r"]["response"]["body"]
    assert [len(row["embedding"]) for row in answers["/v1/embeddings"]["data"]] == [8, 8]
    assert answers["/v1/completions"]["choices"][0]["text"] == "SAY THIS"
    assert answers["/v1/responses"]["output"][0]["content"][0]["text"] == "SAY THIS"


async def test_cancelling_keeps_what_was_done(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    content = chat_line("done", "say this") + chat_line("stuck", "stall") + chat_line("stuck too", "stall")
    batch = await started_batch(client, content)

    await batch_when(client, batch.id, lambda batch: batch.request_counts.completed == 1)
    cancelling = await client.batches.cancel(batch.id)
    assert cancelling.status == "cancelling"
    assert cancelling.cancelling_at is not None
    batch = await ended_batch(client, batch.id)
    assert batch.status == "cancelled"
    assert set(await lines_of(client, batch.output_file_id)) == {"done"}
    errors = await lines_of(client, batch.error_file_id)
    assert {error["error"]["code"] for error in errors.values()} == {"batch_cancelled"}
    assert set(errors) == {"stuck", "stuck too"}
    assert errors["stuck"]["response"] is None
    await eventually(lambda: len(mesh.engine.cancelled) == 2)
    with pytest.raises(openai.ConflictError, match="is cancelled and cannot be cancelled"):
        await client.batches.cancel(batch.id)


async def test_a_batch_expires_with_its_window_and_keeps_what_was_done(client: openai.AsyncOpenAI) -> None:
    content = chat_line("done", "say this") + chat_line("stuck", "stall")
    batch = await ended_batch(client, (await started_batch(client, content, completion_window="2s")).id)
    assert batch.status == "expired"
    assert batch.expired_at >= batch.expires_at
    assert set(await lines_of(client, batch.output_file_id)) == {"done"}
    assert (await lines_of(client, batch.error_file_id))["stuck"]["error"]["code"] == "batch_expired"


async def test_a_batch_whose_file_is_deleted_fails_and_keeps_what_was_done(
    client: openai.AsyncOpenAI, mesh: Mesh
) -> None:
    held = asyncio.Event()
    answer = mesh.engine.behaviour

    async def hold(job: Any, reply: Any) -> None:
        await held.wait()
        await answer(job, reply)

    mesh.engine.behaviour = hold
    # More than a chunk lies behind the lines that are read before the engine answers.
    content = b"".join(chat_line(f"r{number}", f"say {number} " + "x" * 40_000) for number in range(80))
    batch = await started_batch(client, content)
    await mesh.engine.job_arrived.wait()
    await client.files.delete(batch.input_file_id)
    held.set()
    batch = await ended_batch(client, batch.id)
    assert batch.status == "failed"
    assert batch.errors.data[0].code == "input_file_deleted"
    done = await lines_of(client, batch.output_file_id)
    assert 0 < len(done) < 80
    assert batch.request_counts.completed == len(done)


async def test_a_batch_that_breaks_the_gateway_fails_and_is_not_run_for_ever(
    client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sage_gateway.batches.batch_run.check_input", broken)
    batch = await ended_batch(client, (await started_batch(client, chat_line("r", "x"))).id)
    assert batch.status == "failed"
    assert batch.errors.data[0].code == "internal_error"


async def test_half_a_character_harms_no_batch(client: openai.AsyncOpenAI) -> None:
    # JSON may escape a lone surrogate.
    content = (chat_line("r", "x", model="HALF") + chat_line("HALF", "x")).replace(b"HALF", rb"\ud800")
    batch = await ended_batch(client, (await started_batch(client, content)).id)
    assert (batch.request_counts.failed, batch.request_counts.completed) == (1, 1)


async def test_batches_of_another_tenant_are_not_there(client: openai.AsyncOpenAI, mesh: Mesh) -> None:
    batch = await started_batch(client, chat_line("r", "say this"))
    async with client_of(mesh.url, f"other-{mesh.name}") as other:
        for call in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError, match="no batch has the id"):
                await call(batch.id)
        assert (await other.batches.list()).data == []
        with pytest.raises(openai.BadRequestError, match="no file has the id"):
            await other.batches.create(
                input_file_id=batch.input_file_id, endpoint="/v1/embeddings", completion_window="24h"
            )


async def test_batches_are_listed_page_by_page_the_latest_first(client: openai.AsyncOpenAI) -> None:
    made = [(await started_batch(client, chat_line("r", "say this"))).id for _ in range(3)]
    first = await client.batches.list(limit=2)
    assert [batch.id for batch in first.data] == [made[2], made[1]]
    assert first.has_more
    assert [batch.id async for batch in client.batches.list(limit=2)] == made[::-1]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"extra_body": {"priority": 1}}, "priority"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "output_expires_after.seconds"),
        ({"input_file_id": "file-1"}, "input_file_id"),
    ],
)
async def test_a_wrong_field_is_refused_by_name(
    client: openai.AsyncOpenAI, options: dict[str, Any], param: str
) -> None:
    file = await client.files.create(file=("in.jsonl", chat_line("r", "x")), purpose="batch")
    asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h", **options}
    with pytest.raises(openai.BadRequestError) as refused:
        await client.batches.create(**asked)
    assert refused.value.param == param


async def test_a_file_for_something_else_is_not_run(client: openai.AsyncOpenAI) -> None:
    file = await client.files.create(file=("in.jsonl", chat_line("r", "x")), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="uploaded for 'user_data'"):
        await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
