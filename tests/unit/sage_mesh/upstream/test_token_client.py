"""Tokens of servers: vLLM's answers pass through, llama.cpp's are put in vLLM's shape, and others have none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from sage_common.errors import EngineFailedError, InvalidRequestError, UnimplementedError
from sage_mesh.upstream.token_client import TokenClient
from sage_mesh.upstream.upstream import Upstream, UpstreamTimeouts


class FakeServer:
    """A server whose pages a test gives: the answer by path; what was asked is kept."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read() or b"null")
        self.asked.append((request.path, body))
        page = self.pages.get(request.path, (404, {"detail": "Not Found"}))
        status, value = page(body) if callable(page) else page
        return web.Response(status=status, body=value if isinstance(value, bytes) else orjson.dumps(value))


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[TokenClient]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    upstream = Upstream(f"http://127.0.0.1:{port}/v1", api_key="", timeouts=UpstreamTimeouts(), health_path="")
    upstream.open()
    yield TokenClient("e-1", upstream, 2048)
    await upstream.close()
    await runner.cleanup()


def llamacpp(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """As llama.cpp answers: what it does not know is no content."""
    words = body.get("content", "").split()
    pieces = [{"id": len(word), "piece": [0xC3] if word == "half" else word} for word in words]
    return 200, {"tokens": pieces if body.get("with_pieces") else [piece["id"] for piece in pieces]}


async def test_vllms_answer_passes_through(server: FakeServer, client: TokenClient) -> None:
    answer = {"count": 2, "max_model_len": 9, "tokens": [1, 2], "token_strs": None}
    server.pages["/tokenize"] = (200, answer)
    asked = {"model": "m", "messages": [], "continue_final_message": True}
    assert orjson.loads(await client.tokenize(orjson.dumps(asked))) == answer
    assert server.asked == [("/tokenize", asked)]
    server.pages["/detokenize"] = (200, {"prompt": "hi"})
    assert await client.detokenize(b'{"tokens":[1]}') == b'{"prompt":"hi"}'


async def test_llamacpps_tokens_come_in_vllms_shape(server: FakeServer, client: TokenClient) -> None:
    server.pages["/tokenize"] = llamacpp
    plain = orjson.loads(await client.tokenize(b'{"model":"m","prompt":"a half story"}'))
    assert plain == {"count": 3, "max_model_len": 2048, "tokens": [1, 4, 5], "token_strs": None}
    assert server.asked[-1][1] == {
        "content": "a half story",
        "add_special": True,
        "parse_special": True,
        "with_pieces": True,
    }
    told = orjson.loads(
        await client.tokenize(b'{"prompt":"a half","return_token_strs":true,"add_special_tokens":false}')
    )
    assert told["token_strs"] == ["a", "�"]
    assert server.asked[-1][1]["add_special"] is False
    server.pages["/detokenize"] = (200, {"content": "a story"})
    assert orjson.loads(await client.detokenize(b'{"tokens":[1]}')) == {"prompt": "a story"}


async def test_llamacpp_is_asked_how_long_a_conversation_may_be(server: FakeServer, client: TokenClient) -> None:
    server.pages["/tokenize"] = llamacpp
    unknown = TokenClient("e-1", client._upstream)
    assert orjson.loads(await unknown.tokenize(b'{"prompt":"a"}'))["max_model_len"] == 0
    server.pages["/props"] = (200, {"default_generation_settings": {"n_ctx": 4096}})
    assert orjson.loads(await unknown.tokenize(b'{"prompt":"a"}'))["max_model_len"] == 4096


async def test_a_chat_becomes_llamacpps_prompt_first(server: FakeServer, client: TokenClient) -> None:
    server.pages["/tokenize"] = llamacpp
    server.pages["/apply-template"] = lambda body: (200, {"prompt": f"<s> {body['messages'][0]['content']}"})
    chat = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "add_generation_prompt": False}
    assert orjson.loads(await client.tokenize(orjson.dumps(chat)))["tokens"] == [3, 5]
    path, asked = server.asked[-2]
    assert (path, asked["add_generation_prompt"]) == ("/apply-template", False)
    assert server.asked[-1][1]["add_special"] is False


async def test_what_llamacpp_does_not_know_is_refused_by_name(server: FakeServer, client: TokenClient) -> None:
    server.pages["/tokenize"] = llamacpp
    with pytest.raises(InvalidRequestError) as refused:
        await client.tokenize(b'{"messages":[],"chat_template":"{{ x }}","tools":null}')
    assert refused.value.param == "chat_template"


async def test_a_server_without_a_tokenizer_says_so(client: TokenClient) -> None:
    for asking in (client.tokenize, client.detokenize):
        with pytest.raises(UnimplementedError, match=r"has no /(de)?tokenize \(HTTP 404\)"):
            await asking(b"{}")


@pytest.mark.parametrize("page", [b"<html>", [1], {"tokens": "x"}, {"id": 1}])
async def test_an_answer_of_another_shape_is_the_engines_failure(
    server: FakeServer, client: TokenClient, page: Any
) -> None:
    server.pages["/tokenize"] = (200, page)
    with pytest.raises(EngineFailedError, match="answered POST /tokenize with"):
        await client.tokenize(b'{"prompt":"x"}')


async def test_a_refusal_is_the_servers_own(server: FakeServer, client: TokenClient) -> None:
    server.pages["/tokenize"] = (400, {"error": {"message": "bad chat", "type": "BadRequestError"}})
    with pytest.raises(InvalidRequestError) as refused:
        await client.tokenize(b'{"prompt":"x"}')
    assert b"bad chat" in refused.value.upstream_body
