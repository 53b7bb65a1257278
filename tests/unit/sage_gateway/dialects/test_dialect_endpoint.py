"""What the endpoints do over HTTP that no SDK asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from fixtures.mesh import Mesh
from fixtures.scripted_chat import MODEL, ScriptedChat, event

from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import Media

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = {"authorization": "Bearer sk-right", "content-type": "application/json"}
ASK_ANTHROPIC: Any = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
ASK_OPENAI: Any = {"model": MODEL, "input": "hi"}
BOTH = pytest.mark.parametrize(("path", "ask"), [("/v1/messages", ASK_ANTHROPIC), ("/v1/responses", ASK_OPENAI)])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(dialect_mesh: Mesh) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(dialect_mesh.url, headers=KEY) as session:
        yield session


@BOTH
async def test_a_wrong_body_is_refused(
    http: aiohttp.ClientSession, engine: ScriptedChat, path: str, ask: dict[str, Any]
) -> None:
    for body in (b"{", b"[]", b"[" * 100_000, b'{"model":"\xff"}'):
        async with http.post(path, data=body) as response:
            assert response.status == 400
            assert "error" in await response.json()
    assert not engine.bodies


@BOTH
async def test_another_method_is_refused(
    http: aiohttp.ClientSession, engine: ScriptedChat, path: str, ask: dict[str, Any]
) -> None:
    async with http.get(path) as response:
        assert (response.status, response.headers["allow"]) == (405, "POST")
        assert (await response.json())["error"]["type"] == "invalid_request_error"


@BOTH
async def test_replies_say_which_way_they_went(
    http: aiohttp.ClientSession, engine: ScriptedChat, path: str, ask: dict[str, Any]
) -> None:
    for stream in (False, True):
        async with http.post(path, json={**ask, "stream": stream}, headers={"X-Request-ID": "mine"}) as response:
            assert response.status == 200
            assert response.headers["x-request-id"] == "mine"
            assert response.headers["x-sage-engine"] == "scripted-0"
            await response.read()
    assert engine.jobs[-1].tenant == "acme"


@BOTH
async def test_a_server_that_answers_in_one_piece_is_streamed_all_the_same(
    http: aiohttp.ClientSession, engine: ScriptedChat, path: str, ask: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.JSON)
        reply.data(orjson.dumps({"choices": [{"message": {"content": "In one piece."}, "finish_reason": "stop"}]}))

    monkeypatch.setattr(engine, "behaviour", answer)
    async with http.post(path, json={**ask, "stream": True}) as response:
        assert b"In one piece." in await response.read()


@BOTH
async def test_a_server_that_streams_unasked_is_folded(
    http: aiohttp.ClientSession, engine: ScriptedChat, path: str, ask: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.EVENT_STREAM)
        for word in ("In ", "pieces.", *("x" * 1024 * 1024 for _ in range(6))):
            reply.data(event({"choices": [{"delta": {"content": word}}]}))
            # More than may wait to be read: who waits for the end before reading never gets there.
            await reply.until_resumed()
        reply.data(b"data: [DONE]\n\n")

    monkeypatch.setattr(engine, "behaviour", answer)
    async with http.post(path, json=ask) as response:
        assert "In pieces." in orjson.dumps(await response.json()).decode()


async def test_silence_is_filled_with_comments(dialect_mesh: Mesh, engine: ScriptedChat) -> None:
    engine.waits_after = 2
    # Its edge has the same engine behind it.
    url = await dialect_mesh.another_gateway(stream_comment_seconds=0.02)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/messages", json={**ASK_ANTHROPIC, "stream": True}) as response,
    ):
        seen = b""
        while not seen.endswith(b": keep-alive\n\n") or b"Hell" not in seen:
            seen += await response.content.readuntil(b"\n\n")
    assert b"event: message_start" in seen
