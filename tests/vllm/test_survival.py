"""kill -9 of one of two vLLM servers in the middle of greedy streams: every client has the text of an unbroken run.

And what SAGE learns from vLLM's own metrics meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from conftest import MODEL, PYTHON, VllmServer

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_mesh.sse import DONE, SseParser

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}; run tests/vllm/install.sh"),
]

TOKENS = 300
PROMPTS = ("def main():", "class Foo:\n    def __init__", "import os", "The quick brown fox", "x = [1, 2, 3]\nfor")


@pytest.fixture(scope="module")
def twins(
    vllm_servers: tuple[VllmServer, VllmServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IsolatedMesh]:
    engines = [
        {"kind": "openai", "url": f"{server.url}/v1", "name": f"twin{number}", "aliases": ["best"]}
        for number, server in enumerate(vllm_servers)
    ]
    settings = {"SAGE_LLM_COORDINATOR_ENGINES": orjson.dumps(engines).decode()}
    replicas = {"embed-executor": 0, "dataflow-worker": 0}
    with isolated_mesh(tmp_path_factory.mktemp("mesh"), settings=settings, replicas=replicas) as running:
        asyncio.run(asyncio.wait_for(both_ready(running), 30))
        yield running


async def engines_of(session: aiohttp.ClientSession, twins: IsolatedMesh) -> list[dict[str, Any]]:
    async with session.get(f"{twins.gateway_url}/v1/management/engines") as response:
        value = await response.json()
    return list(value["engines"] if isinstance(value, dict) and "engines" in value else value["data"])


async def both_ready(twins: IsolatedMesh) -> None:
    async with aiohttp.ClientSession() as session:

        async def two_ready() -> bool:
            return sum(engine["phase"].lower() == "ready" for engine in await engines_of(session, twins)) == 2

        await until(two_ready)


@dataclass
class Seen:
    """What one client saw."""

    text: str = ""
    events: int = 0
    finish: str = ""
    ids: set[str] = field(default_factory=set)
    usage: dict[str, int] | None = None
    engine: str = ""
    error: str = ""
    done: int = 0


def request_of(number: int, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """Chats and completions, with and without usage."""
    body: dict[str, Any] = {"model": MODEL, "temperature": 0, "ignore_eos": True, "max_tokens": TOKENS}
    prompt = PROMPTS[number % len(PROMPTS)]
    if stream:
        body["stream"] = True
        if number % 3 == 0:
            body["stream_options"] = {"include_usage": True}
    if number % 2:
        return "/v1/completions", {**body, "prompt": prompt}
    return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": prompt}]}


async def listen(session: aiohttp.ClientSession, twins: IsolatedMesh, number: int, seen: Seen) -> None:
    path, body = request_of(number, stream=True)
    parser = SseParser()
    async with session.post(twins.gateway_url + path, json=body) as response:
        assert response.status == 200, await response.text()
        seen.engine = response.headers["x-sage-engine"]
        async for piece in response.content.iter_any():
            for event in parser.feed(piece):
                take(event.data, seen)


def take(data: str, seen: Seen) -> None:
    seen.events += 1
    if data == DONE:
        seen.done += 1
        return
    chunk = orjson.loads(data)
    if "error" in chunk:
        seen.error = chunk["error"]["message"]
        return
    seen.ids.add(chunk["id"])
    seen.usage = chunk.get("usage") or seen.usage
    for choice in chunk["choices"]:
        seen.text += choice.get("delta", choice).get("content") or choice.get("text") or ""
        seen.finish = choice["finish_reason"] or seen.finish


async def whole_answer(session: aiohttp.ClientSession, url: str, number: int) -> tuple[str, dict[str, int]]:
    path, body = request_of(number, stream=False)
    async with session.post(url + path, json=body) as response:
        value = await response.json()
    choice = value["choices"][0]
    usage = {name: value["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return choice.get("text") or choice["message"]["content"], usage


async def test_vllms_own_figures_are_in_the_heartbeats(twins: IsolatedMesh) -> None:
    async with aiohttp.ClientSession() as session:
        # A gigabyte of keys and values of a model with two layers of 256 floats, in float32, once its page was read.
        await asyncio.wait_for(until(lambda: caches_known(session, twins)), 20)
        seen, measured = Seen(), asyncio.Event()

        async def keep_busy(number: int) -> None:
            while not measured.is_set():
                await listen(session, twins, number, seen)

        streams = [asyncio.create_task(keep_busy(number)) for number in range(8)]
        try:
            await asyncio.wait_for(until(lambda: kv_used(session, twins)), 20)
        finally:
            measured.set()
            await asyncio.gather(*streams)


async def caches_known(session: aiohttp.ClientSession, twins: IsolatedMesh) -> bool:
    return all(engine["max_outstanding_tokens"] == 262_144 for engine in await engines_of(session, twins))


async def kv_used(session: aiohttp.ClientSession, twins: IsolatedMesh) -> bool:
    return any(engine["kv_cache_usage"] > 0 for engine in await engines_of(session, twins))


async def until(condition: Any) -> None:
    while not await condition():  # noqa: ASYNC110 - the thing waited for has no event
        await asyncio.sleep(0.02)


async def test_an_answer_to_an_alias_names_the_alias(twins: IsolatedMesh) -> None:
    async with aiohttp.ClientSession() as session:
        body = {"model": "best", "prompt": "import", "max_tokens": 2}
        async with session.post(f"{twins.gateway_url}/v1/completions", json=body) as response:
            assert (await response.json())["model"] == "best"


async def test_the_texts_of_streams_whose_vllm_was_killed_are_those_of_an_unbroken_run(
    twins: IsolatedMesh, vllm_servers: tuple[VllmServer, VllmServer]
) -> None:
    count = 10
    async with aiohttp.ClientSession() as session:
        expected = [await whole_answer(session, vllm_servers[0].url, number) for number in range(count)]
        seen = [Seen() for _ in range(count)]
        streams = [asyncio.create_task(listen(session, twins, number, seen[number])) for number in range(count)]
        # Which of the two has more of them, and how many run at once, depends on how fast each was lately.
        await asyncio.wait_for(until(lambda: under_way_on_one(seen)), 60)
        on = under_way(seen)
        vllm_servers[on.index(max(on))].kill()
        await asyncio.wait_for(asyncio.gather(*streams), 120)
    for number in range(count):
        one, (text, usage) = seen[number], expected[number]
        assert one.error == "", number
        assert one.text == text, (number, one.engine)
        assert (one.finish, one.done, len(one.ids)) == ("length", 1, 1)
        if number % 3 == 0:
            assert one.usage is not None
            assert {name: one.usage[name] for name in usage} == usage
        else:
            assert one.usage is None


def under_way(seen: list[Seen]) -> list[int]:
    """How many streams are in the middle of their answers, on each of the two."""
    running = [one for one in seen if one.events > 20 and not one.done]
    return [sum(one.engine.startswith(f"twin{index}") for one in running) for index in range(2)]


async def under_way_on_one(seen: list[Seen]) -> bool:
    return max(under_way(seen)) >= 2
