"""A continuation from tokens, and from text where the server does not tell its prompt's tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web

from sage_control_plane.request.request import Attempt
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_mesh.engine import DeliveredTokens, EngineRequest
from sage_mesh.executor.direct_call import run_here

ANSWER = b'data: {"choices":[{"text":" three"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture
def continuation(make_request: Callable[..., EngineRequest]) -> EngineRequest:
    """Another engine has said "one two", which was two tokens."""
    messages = [{"role": "user", "content": "count"}, {"role": "assistant", "content": "one two"}]
    body = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False, "stream": True}
    return replace(make_request(**body), attempt=Attempt(2, 1), delivered=DeliveredTokens((11, 12), len("one two")))


async def asked(
    upstream: Any, make_engine: Callable[..., OpenAiEngine], engine_request: EngineRequest, tokenized: web.Response
) -> tuple[list[str], Any]:
    """The paths that the server was asked for, and the body of the last."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/tokenize":
            return tokenized
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(ANSWER)
        return response

    async def models(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [{"id": "big", "owned_by": "vllm", "max_model_len": 100}]})

    upstream.completions, upstream.models = answer, models
    engine = make_engine()
    await engine.start()
    async with run_here(engine, engine_request) as reply:
        assert b" three" in await reply.read()
    return upstream.paths, orjson.loads(upstream.bodies[-1])


async def test_a_continuation_goes_on_from_the_prompts_tokens_and_those_delivered(
    upstream: Any, make_engine: Callable[..., OpenAiEngine], continuation: EngineRequest
) -> None:
    paths, body = await asked(upstream, make_engine, continuation, web.json_response({"tokens": [1, 2, 3]}))
    assert paths == ["/tokenize", "/v1/completions"]
    assert body["prompt"] == [1, 2, 3, 11, 12]


@pytest.mark.parametrize(
    ("status", "tokenized"),
    [
        (404, b'{"detail":"Not Found"}'),
        (200, b"{}"),
        (200, b'{"tokens":null}'),
        (200, b'{"tokens":["one"]}'),
        (200, b'{"tokens":[]}'),
        (200, b"[1]"),
        (200, b"<html>"),
    ],
)
async def test_a_continuation_goes_on_from_its_text_where_the_server_names_no_tokens(
    upstream: Any, make_engine: Callable[..., OpenAiEngine], continuation: EngineRequest, status: int, tokenized: bytes
) -> None:
    answer = web.Response(status=status, body=tokenized, content_type="application/json")
    paths, body = await asked(upstream, make_engine, continuation, answer)
    assert paths == ["/tokenize", "/v1/chat/completions"]
    assert body["messages"][-1] == {"role": "assistant", "content": "one two"}
