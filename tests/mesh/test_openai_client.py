"""The openai client against a real mesh."""

from __future__ import annotations

import base64
import math
import struct
import time
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from fixtures.process_mesh import sage

from sage_benchmark.isolated_mesh import IsolatedMesh

CONTEXT = (
    "Answer the question from the context.\n\nContext:\n[1] The scheduler holds a lease for each pool. "
    "When it dies, a standby takes the lease within two seconds.\n[2] Cats sleep most of the day.\n\n"
    "Question: What happens when the scheduler dies?"
)


@pytest.fixture
def client(mesh: IsolatedMesh) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{mesh.gateway_url}/v1", api_key="unused", max_retries=0, timeout=30)


def test_models_are_listed_with_what_they_do(client: openai.OpenAI) -> None:
    with client:
        names = {model.id for model in client.models.list()}
        assert {"all-MiniLM-L6-v2", "sage-extractive"} <= names
        assert client.models.retrieve("sage-extractive").id == "sage-extractive"


def test_chat_answers_from_the_context(client: openai.OpenAI) -> None:
    with client:
        answer = client.chat.completions.create(
            model="sage-extractive", messages=[{"role": "user", "content": CONTEXT}], max_tokens=60
        )
        text = answer.choices[0].message.content
        assert text is not None
        assert "standby" in text
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > 0
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_chat_gives_the_same_text_and_its_usage(client: openai.OpenAI) -> None:
    with client:
        whole = client.chat.completions.create(model="sage-extractive", messages=[{"role": "user", "content": CONTEXT}])
        chunks = list(
            client.chat.completions.create(
                model="sage-extractive",
                messages=[{"role": "user", "content": CONTEXT}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens  # type: ignore[union-attr]
        assert len(chunks) > 3


def test_completions_answer_and_stream(client: openai.OpenAI) -> None:
    with client:
        whole = client.completions.create(model="sage-extractive", prompt=CONTEXT)
        assert "standby" in whole.choices[0].text
        pieces = [
            chunk.choices[0].text
            for chunk in client.completions.create(model="sage-extractive", prompt=CONTEXT, stream=True)
            if chunk.choices
        ]
        assert "".join(pieces) == whole.choices[0].text


def test_embeddings_as_floats_and_as_base64_are_equal(client: openai.OpenAI) -> None:
    texts = ["the scheduler", "a cat asleep", "ein Satz auf Deutsch"]
    with client:
        floats = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts, encoding_format="float")
        coded = client.embeddings.with_raw_response.create(
            model="all-MiniLM-L6-v2", input=texts, encoding_format="base64"
        )
        for one, other in zip(floats.data, coded.http_response.json()["data"], strict=True):
            decoded = struct.unpack(f"<{len(one.embedding)}f", base64.b64decode(other["embedding"]))
            assert decoded == pytest.approx(one.embedding, abs=1e-7)
            assert math.hypot(*decoded) == pytest.approx(1.0, abs=1e-5)
        assert [item.index for item in floats.data] == [0, 1, 2]
        assert floats.usage.prompt_tokens > 0


def test_embedding_options_are_honoured(client: openai.OpenAI) -> None:
    with client:
        short = client.embeddings.create(model="minilm", input="the scheduler", dimensions=64)
        assert len(short.data[0].embedding) == 64
        ids = client.embeddings.create(model="minilm", input=[101, 1996, 102])
        assert len(ids.data[0].embedding) == 384


def test_a_text_that_is_too_long_is_cut_and_said_to_be_or_refused(client: openai.OpenAI) -> None:
    long = "word " * 400
    with client:
        raw = client.embeddings.with_raw_response.create(model="minilm", input=[long, "short"])
        assert raw.headers["x-sage-truncated"] == "1"
        assert int(raw.headers["x-sage-inference-us"]) > 0
        assert raw.parse().usage.prompt_tokens == 256 + 3
        with pytest.raises(openai.BadRequestError, match="has 402 tokens, the limit is 256") as refused:
            client.embeddings.create(model="minilm", input=long, extra_body={"truncate": False})
        assert refused.value.code == "input_too_long"


def test_documents_are_ranked(client: openai.OpenAI) -> None:
    body = {"query": "reset a password", "documents": ["Bananas are yellow.", "I forgot my login."], "top_n": 1}
    with client:
        answer = client.post("/rerank", cast_to=dict[str, object], body=body)
    assert [result["index"] for result in answer["results"]] == [1]  # type: ignore[attr-defined]


def test_a_batch_goes_from_file_to_file(client: openai.OpenAI, mesh: IsolatedMesh, tmp_path: Path) -> None:
    """By the client, and by the command line."""
    embed = {"model": "minilm", "input": "the scheduler"}
    asked = {"custom_id": "one", "method": "POST", "url": "/v1/embeddings", "body": embed}
    file = tmp_path / "in.jsonl"
    file.write_bytes(orjson.dumps(asked) + b"\n{broken\n")
    with client:
        uploaded = client.files.create(file=file, purpose="batch")
        batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/embeddings", completion_window="24h")
        sage(mesh, "batch", "submit", str(file), "--endpoint", "/v1/embeddings", "--wait")
        listed = orjson.loads(sage(mesh, "batch", "list", "--json"))
        assert [one["status"] for one in listed[:1]] == ["completed"]
        assert batch.id in {one["id"] for one in listed}
        told = sage(mesh, "batch", "show", listed[0]["id"])
        assert told.startswith(f"{listed[0]['id']}  completed: 1 of 2 answered, 1 failed")
        line = orjson.loads(sage(mesh, "batch", "results", listed[0]["id"]))
        assert len(line["response"]["body"]["data"][0]["embedding"]) == 384
        failed = orjson.loads(sage(mesh, "batch", "results", listed[0]["id"], "--errors"))
        assert failed["response"]["body"]["error"]["code"] == "invalid_json_line"
        output = client.batches.retrieve(listed[0]["id"]).output_file_id
        assert output is not None
        assert client.files.content(output).read() == orjson.dumps(line) + b"\n"


def test_a_response_is_stored_gone_on_from_and_made_in_the_background(client: openai.OpenAI) -> None:
    with client:
        first = client.responses.create(model="sage-extractive", input=CONTEXT)
        assert client.responses.retrieve(first.id).output_text == first.output_text
        second = client.responses.create(
            model="sage-extractive",
            input="And the cats?",
            previous_response_id=first.id,
            background=True,
        )
        deadline = time.monotonic() + 20
        while second.status in ("queued", "in_progress"):
            assert time.monotonic() < deadline
            second = client.responses.retrieve(second.id)
        assert second.status == "completed"
        assert len(client.responses.input_items.list(second.id).data) == 3
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)


def test_pairs_are_scored(client: openai.OpenAI) -> None:
    body = {"model": "minilm", "text_1": "reset a password", "text_2": ["Bananas are yellow.", "I forgot my login."]}
    with client:
        answer: Any = client.post("/score", cast_to=dict[str, Any], body=body)
    fruit, login = (one["score"] for one in answer["data"])
    assert 0.2 < login <= 1
    assert fruit < login / 2


def test_tokens_of_an_embedding_model_are_told_and_read(client: openai.OpenAI, mesh: IsolatedMesh) -> None:
    with client.with_options(base_url=mesh.gateway_url) as plain:
        told: Any = plain.post(
            "/tokenize",
            cast_to=dict[str, Any],
            body={"model": "minilm", "prompt": "the scheduler", "return_token_strs": True},
        )
        assert told["token_strs"][0] == "[CLS]"
        assert told["token_strs"][-1] == "[SEP]"
        assert told["count"] == len(told["tokens"]) == len(told["token_strs"])
        assert told["max_model_len"] == 256
        bare: Any = plain.post(
            "/tokenize",
            cast_to=dict[str, Any],
            body={"model": "minilm", "prompt": "the scheduler", "add_special_tokens": False},
        )
        assert bare["tokens"] == told["tokens"][1:-1]
        assert bare["token_strs"] is None
        text: Any = plain.post(
            "/detokenize", cast_to=dict[str, Any], body={"model": "minilm", "tokens": bare["tokens"]}
        )
        assert text == {"prompt": "the scheduler"}


def test_tokens_are_refused_by_name_where_there_are_none(client: openai.OpenAI, mesh: IsolatedMesh) -> None:
    with client.with_options(base_url=mesh.gateway_url) as plain:
        for path, body, status, code in (
            ("/tokenize", {"model": "sage-extractive", "prompt": "x"}, 501, "no_tokenizer"),
            ("/detokenize", {"model": "nope", "tokens": [1]}, 404, "model_not_found"),
            ("/tokenize", {"model": "minilm"}, 400, "missing_required_parameter"),
            ("/tokenize", {"model": "minilm", "messages": []}, 400, "unsupported_parameter"),
            ("/detokenize", {"model": "minilm", "tokens": [10**7]}, 400, "invalid_request"),
        ):
            with pytest.raises(openai.APIStatusError) as refused:
                plain.post(path, cast_to=dict[str, Any], body=body)
            assert (refused.value.status_code, refused.value.code) == (status, code), path


def test_headers_say_what_happened(client: openai.OpenAI) -> None:
    with client:
        raw = client.embeddings.with_raw_response.create(
            model="minilm", input="x", extra_headers={"X-Request-ID": "my-request"}
        )
        assert raw.headers["x-request-id"] == "my-request"
        assert raw.headers["x-sage-attempts"] == "1"
        assert raw.headers["x-sage-engine"]
        assert float(raw.headers["x-sage-queue-ms"]) >= 0


def test_errors_are_typed(client: openai.OpenAI) -> None:
    user = [{"role": "user", "content": "hi"}]
    with client:
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="nope", messages=user)  # type: ignore[arg-type]
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
            client.chat.completions.create(model="minilm", messages=user)  # type: ignore[arg-type]
        with pytest.raises(openai.BadRequestError) as empty:
            client.embeddings.create(model="minilm", input=[])
        assert empty.value.param == "input"
