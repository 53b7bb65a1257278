"""The static engine speaks enough of the OpenAI API for the real client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest

from sage_benchmark.static_engine import StaticAnswer, StaticEngine
from sage_mesh.openai_answer import read_delta
from sage_mesh.sse import DONE, SseParser

CHAT = {"model": "static", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def started(answer: StaticAnswer) -> StaticEngine:
    engine = StaticEngine(answer)
    await engine.start()
    return engine


async def test_a_chat_is_answered_with_so_many_tokens(session: aiohttp.ClientSession) -> None:
    engine = await started(StaticAnswer(tokens=3))
    async with session.post(f"{engine.url}/v1/chat/completions", json=CHAT) as response:
        value = await response.json()
    engine.close()
    assert value["choices"][0]["message"]["content"] == "word word word "
    assert value["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("gap_ms", [0.0, 1.0])
async def test_a_stream_has_one_event_a_token_and_ends_with_its_usage(
    session: aiohttp.ClientSession, path: str, gap_ms: float
) -> None:
    engine = await started(StaticAnswer(tokens=4, gap_ms=gap_ms))
    body = {**CHAT, "prompt": "hi", "stream": True, "stream_options": {"include_usage": True}}
    async with session.post(f"{engine.url}/v1/{path}", json=body) as response:
        data = await response.read()
    engine.close()
    events = SseParser().feed(data)
    pieces = [read_delta(event.data) for event in events[:-1]]
    assert [piece.text for piece in pieces] == ["word "] * 4 + [""]
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == 4
    assert events[-1].data == DONE


async def test_requests_on_one_connection_are_answered_in_order(session: aiohttp.ClientSession) -> None:
    engine = await started(StaticAnswer(tokens=2, gap_ms=1, delay_ms=1))
    host, port = engine.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = orjson.dumps({**CHAT, "stream": True})
    post = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    writer.write(post + b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    first = await reader.readuntil(b"0\r\n\r\n")
    assert first.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert (await reader.readuntil(b"}]}")).endswith(b'"owned_by":"sage"}]}')
    writer.close()
    engine.close()


async def test_garbage_closes_the_connection_and_an_unknown_path_is_a_404(session: aiohttp.ClientSession) -> None:
    engine = await started(StaticAnswer())
    async with session.get(f"{engine.url}/nothing") as response:
        assert response.status == 404
    host, port = engine.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x00\x01garbage\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    engine.close()


async def test_the_program_prints_its_url_and_ends_when_told_to(session: aiohttp.ClientSession) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sage_benchmark.static_engine", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    async with session.get(f"{url}/health") as response:
        assert response.status == 200
    process.terminate()
    assert await process.wait() == 0


async def test_the_gaps_between_its_own_writes_are_told_and_begin_anew(session: aiohttp.ClientSession) -> None:
    engine = await started(StaticAnswer(tokens=4, gap_ms=5, record_gaps=True))
    for _ in range(2):
        async with session.post(f"{engine.url}/v1/chat/completions", json={**CHAT, "stream": True}) as response:
            await response.read()
    async with session.get(f"{engine.url}/gaps") as response:
        gaps = await response.json()
    assert gaps["count"] == 6
    assert 4 <= gaps["p50_ms"] <= gaps["p99_ms"] <= gaps["max_ms"]
    async with session.get(f"{engine.url}/gaps") as response:
        assert (await response.json())["count"] == 0
    engine.close()
