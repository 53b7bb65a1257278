"""The real ``openai`` client against the gateway."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import openai
import pytest
from fixtures.engines import CHAT_MODEL, DIMENSIONS, EMBEDDING_MODEL, vector_of
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess


@pytest.fixture
async def client(mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_chat_gives_the_answer_and_its_usage(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model=CHAT_MODEL, messages=user("how are you"))
    assert answer.choices[0].message.content == "HOW ARE YOU"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 6


async def test_streamed_chat_gives_pieces_and_then_usage(client: openai.AsyncOpenAI) -> None:
    stream: Any = await client.chat.completions.create(
        model=CHAT_MODEL, messages=user("how are you"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "HOW ARE YOU"
    assert chunks[-1].usage.total_tokens == 6


async def test_completions_work_streamed_and_not(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model=CHAT_MODEL, prompt="once upon")
    assert answer.choices[0].text == "ONCE UPON"
    stream: Any = await client.completions.create(model=CHAT_MODEL, prompt="once upon", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "ONCE UPON"


async def test_embeddings_are_the_same_as_floats_and_as_base64(client: openai.AsyncOpenAI) -> None:
    texts = ["one", "two", "three"]
    floats = await client.embeddings.create(model=EMBEDDING_MODEL, input=texts, encoding_format="float")
    encoded = await client.embeddings.create(model=EMBEDDING_MODEL, input=texts)
    expected = np.stack([vector_of(text) for text in texts])
    for answer in (floats, encoded):
        assert [row.index for row in answer.data] == [0, 1, 2]
        np.testing.assert_array_equal(np.array([row.embedding for row in answer.data], dtype=np.float32), expected)
        assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (EMBEDDING_MODEL, 3, 3)


async def test_a_large_embeddings_answer_is_whole_and_in_order(client: openai.AsyncOpenAI) -> None:
    texts = [f"text {number}" for number in range(2048)]
    expected = np.stack([vector_of(text, 64) for text in texts])
    for encoding in ("float", "base64"):
        answer = await client.embeddings.create(
            model=EMBEDDING_MODEL, input=texts, dimensions=64, encoding_format=encoding
        )
        rows = [
            np.frombuffer(base64.b64decode(row.embedding), "<f4")
            if isinstance(row.embedding, str)
            else np.array(row.embedding, dtype=np.float32)
            for row in answer.data
        ]
        np.testing.assert_array_equal(np.stack(rows), expected)


async def test_models_are_listed_and_found_by_name_and_alias(client: openai.AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [model.id for model in models] == [EMBEDDING_MODEL, CHAT_MODEL]
    assert models[0].model_dump()["dimensions"] == DIMENSIONS
    assert (await client.models.retrieve(CHAT_MODEL)).id == CHAT_MODEL
    assert (await client.models.retrieve("chat-alias")).id == CHAT_MODEL


async def test_errors_come_as_the_clients_own_classes(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="nope", messages=user("hi"))
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        await client.chat.completions.create(model=EMBEDDING_MODEL, messages=user("hi"))
    assert wrong.value.code == "wrong_endpoint_for_model"
    with pytest.raises(openai.BadRequestError) as empty:
        await client.embeddings.create(model=EMBEDDING_MODEL, input=[])
    assert (empty.value.code, empty.value.param) == ("empty_input", "input")
    with pytest.raises(openai.UnprocessableEntityError, match="guided_json is not a schema"):
        await client.chat.completions.create(model=CHAT_MODEL, messages=user("please refuse"))
    with pytest.raises(openai.InternalServerError) as broken:
        await client.chat.completions.create(model=CHAT_MODEL, messages=user("please break"))
    assert (broken.value.status_code, broken.value.code) == (502, "engine_failed")
    with pytest.raises(openai.NotFoundError) as missing:
        await client.models.retrieve("nope")
    assert missing.value.code == "model_not_found"


async def test_an_error_in_mid_stream_raises_after_the_pieces_that_came(client: openai.AsyncOpenAI) -> None:
    stream: Any = await client.chat.completions.create(model=CHAT_MODEL, messages=user("so far tear"), stream=True)
    seen = ""

    async def read() -> None:
        nonlocal seen
        async for chunk in stream:
            seen += chunk.choices[0].delta.content or ""

    with pytest.raises(openai.APIError, match="the engine died") as died:
        await read()
    assert seen == "SO FAR TEAR"
    assert died.value.code == "engine_died"


async def test_a_missing_or_wrong_key_is_refused_once_keys_are_configured(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, api_keys={"sk-right": "acme"}) as mesh:
        async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="sk-wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.chat.completions.create(model=CHAT_MODEL, messages=user("hi"))
            assert refused.value.code == "invalid_api_key"
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="sk-right", max_retries=0) as client:
            await client.chat.completions.create(model=CHAT_MODEL, messages=user("hi"))
            assert mesh.engine.jobs[-1].tenant == "acme"
            with pytest.raises(openai.PermissionDeniedError):
                await client.chat.completions.create(
                    model=CHAT_MODEL, messages=user("hi"), extra_headers={"X-Sage-Tenant": "other"}
                )
