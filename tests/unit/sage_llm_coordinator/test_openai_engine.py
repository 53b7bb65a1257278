"""The engine ``openai`` passes requests through a real HTTP server untouched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web

from sage_common.errors import (
    InvalidRequestError,
    SageError,
)
from sage_control_plane.request.request import (
    Classification,
    Endpoint,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here
from sage_mesh.reply import Media, TokenUsage

CHUNK = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"

Make = Callable[..., OpenAiEngine]
MakeRequest = Callable[..., EngineRequest]


async def open_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def fail(engine: OpenAiEngine, engine_request: EngineRequest) -> SageError:
    async with run_here(engine, engine_request) as reply:
        with pytest.raises(SageError) as caught:
            await reply.read()
    return caught.value


async def test_the_body_arrives_byte_for_byte_and_the_answer_comes_back_so(upstream: Any, make_engine: Make) -> None:
    engine = make_engine()
    await engine.start()
    body = b'{ "messages":[{"role":"user","content":"h\\u00e4"}],\n "model" : "big", "tools":[], "x":1.0 }'
    async with run_here(engine, EngineRequest("r-9", Endpoint.CHAT_COMPLETIONS, body, "big")) as reply:
        head = await reply.head()
        data = await reply.read()
    assert upstream.bodies == [body]
    assert upstream.paths == ["/v1/chat/completions"]
    assert upstream.headers[0]["X-Request-Id"] == "r-9"
    assert head.media is Media.JSON
    assert orjson.loads(data)["choices"][0]["message"]["content"] == "hello"
    assert reply.usage == TokenUsage(7, 1)


async def test_a_stream_leaves_as_it_arrives(upstream: Any, make_engine: Make, make_request: MakeRequest) -> None:
    go_on = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(CHUNK)
        await go_on.wait()
        await response.write(USAGE + DONE)
        return response

    upstream.completions = stream
    engine = make_engine()
    await engine.start()
    async with run_here(engine, make_request(stream=True)) as reply:
        assert (await reply.head()).media is Media.EVENT_STREAM
        pieces = aiter(reply)
        assert await anext(pieces) == CHUNK
        go_on.set()
        assert b"".join([piece async for piece in pieces]) == USAGE + DONE
    assert reply.usage == TokenUsage(9, 3)


@pytest.mark.parametrize("given", ["best", "default", ""])
async def test_an_alias_becomes_the_models_own_name(
    upstream: Any, make_engine: Make, make_request: MakeRequest, given: str
) -> None:
    engine = make_engine(aliases=("best",))
    await engine.start()
    async with run_here(engine, make_request(model=given, top_k=3)) as reply:
        await reply.read()
    sent = orjson.loads(upstream.bodies[0])
    assert sent["model"] == "big"
    assert sent["top_k"] == 3


async def test_the_api_key_is_sent_and_never_shown(upstream: Any, make_engine: Make, make_request: MakeRequest) -> None:
    engine = make_engine(api_key="sk-secret")
    await engine.start()
    async with run_here(engine, make_request()) as reply:
        await reply.read()
    assert upstream.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(engine.spec)
    assert "sk-secret" not in engine.reason


async def test_a_cancelled_request_closes_the_connection_so_that_the_server_stops(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        while True:
            await response.write(CHUNK)
            await asyncio.sleep(0.001)

    upstream.completions = endless
    engine = make_engine()
    await engine.start()
    async with run_here(engine, make_request(stream=True)) as reply:
        await anext(aiter(reply))
    await asyncio.wait_for(upstream.disconnected.wait(), 5)


async def test_a_request_cancelled_before_its_first_byte_reaches_the_server_too(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    upstream.completions = silent
    engine = make_engine()
    await engine.start()
    async with run_here(engine, make_request()):
        await upstream.arrived.wait()
    await asyncio.wait_for(upstream.disconnected.wait(), 5)


async def test_more_requests_than_usual_share_the_connections_and_all_are_answered(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    engine = make_engine(max_concurrency=4)
    await engine.start()

    async def ask() -> bytes:
        async with run_here(engine, make_request()) as reply:
            return await reply.read()

    answers = await asyncio.gather(*(ask() for _ in range(40)))
    assert len(upstream.bodies) == 40
    assert all(b"hello" in answer for answer in answers)


async def test_an_id_that_no_header_can_hold_is_not_sent(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    engine = make_engine()
    await engine.start()
    async with run_here(engine, replace(make_request(), request_id="a\r\nX-Evil: 1", traceparent="00-ä")) as reply:
        assert b"hello" in await reply.read()
    assert not {"X-Request-Id", "X-Evil", "traceparent"} & set(upstream.headers[0])


async def test_embeddings_are_not_for_a_language_model(make_engine: Make, make_request: MakeRequest) -> None:
    engine = make_engine()
    await engine.start()
    assert isinstance(await fail(engine, make_request(endpoint=Endpoint.EMBEDDINGS)), InvalidRequestError)


async def test_embeddings_pass_through_where_the_server_says_that_a_model_is_for_them(
    upstream: Any, make_engine: Make
) -> None:
    async def list_models(_request: web.Request) -> web.StreamResponse:
        entries = [{"id": "big", "kinds": ["chat", "generate"]}, {"id": "vectors", "kinds": ["embedding", "other"]}]
        return web.json_response({"data": entries})

    async def embed(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [{"embedding": "AAAA"}], "usage": {"prompt_tokens": 5, "total_tokens": 5}})

    upstream.models, upstream.completions = list_models, embed
    engine = make_engine()
    await engine.start()
    assert [set(card.kinds) for card in engine.spec.models] == [
        {RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE},
        {RequestKind.EMBEDDING},
    ]
    body = b'{"model":"vectors","input":["a","b"],"encoding_format":"base64"}'
    async with run_here(engine, EngineRequest("r-9", Endpoint.EMBEDDINGS, body, "vectors")) as reply:
        assert (await reply.head()).media is Media.JSON
        assert orjson.loads(await reply.read())["data"] == [{"embedding": "AAAA"}]
    assert (upstream.paths, upstream.bodies) == (["/v1/embeddings"], [body])
    assert reply.usage.prompt_tokens == 5


async def list_vllm(_request: web.Request) -> web.StreamResponse:
    models = [
        {"id": "big", "owned_by": "vllm", "parent": None, "max_model_len": 4096},
        {"id": "polite", "owned_by": "vllm", "parent": "big"},
    ]
    return web.json_response({"object": "list", "data": models})


def streaming(make_request: MakeRequest, **fields: object) -> EngineRequest:
    classification = Classification(
        RequestKind.LLM_CHAT,
        "main",
        "big",
        ServiceClass.INTERACTIVE,
        Priority.NORMAL,
        ServiceLevel(),
        1,
        1,
        streaming=True,
    )
    return replace(make_request(stream=True, **fields), classification=classification)


async def test_usage_is_known_though_the_caller_did_not_ask_and_does_not_see_it(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(CHUNK + USAGE + DONE)
        return response

    upstream.models = list_vllm
    upstream.completions = stream
    engine = make_engine()
    await engine.start()
    async with run_here(engine, streaming(make_request)) as reply:
        assert await reply.read() == CHUNK + DONE
    assert reply.usage == TokenUsage(9, 3)
    options = orjson.loads(upstream.bodies[0])["stream_options"]
    assert options == {"include_usage": True, "continuous_usage_stats": True}


async def test_a_server_that_nobody_knows_is_asked_for_nothing_more(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(CHUNK + DONE)
        return response

    upstream.completions = stream
    engine = make_engine()
    await engine.start()
    asked = streaming(make_request)
    async with run_here(engine, asked) as reply:
        await reply.read()
    assert upstream.bodies[0] == asked.body


async def test_the_answer_to_an_alias_names_the_alias(
    upstream: Any, make_engine: Make, make_request: MakeRequest
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        if not orjson.loads(upstream.bodies[-1]).get("stream"):
            return web.json_response({"model": "big", "choices": [{"text": '"model": "big"'}]})
        response = await open_stream(request)
        await response.write(b'data: {"model":"big","choices":[{"text":"\\"model\\":\\"big\\""}]}\n\n' + DONE)
        return response

    upstream.completions = stream
    engine = make_engine(aliases=("best",))
    await engine.start()
    async with run_here(engine, make_request(model="best")) as reply:
        assert orjson.loads(await reply.read()) == {"model": "best", "choices": [{"text": '"model": "big"'}]}
    async with run_here(engine, make_request(model="best", stream=True)) as reply:
        delivered = await reply.read()
    chunk, done, _ = delivered.split(b"\n\n")
    assert orjson.loads(chunk.removeprefix(b"data: ")) == {"model": "best", "choices": [{"text": '"model":"big"'}]}
    assert done + b"\n\n" == DONE
    async with run_here(engine, make_request(model="default")) as reply:
        assert orjson.loads(await reply.read())["model"] == "big"
