"""kill -9 of an engine or its coordinator in the middle of twenty streams: every client gets the whole answer, once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.process_mesh import Engines, all_ready, further_process, process_mesh, until_engines
from fixtures.received_answers import ReceivedAnswer, add_event, read_stream
from fixtures.steady_engine import SteadyProcess, events, read_asked, steady_engine

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_control_plane.request.request import Endpoint
from sage_mesh.sse import SseParser

STREAMS = 20
TOKENS = 120


@dataclass
class TwoCoordinators:
    """Two coordinators of a mesh, each with an engine of its own that serves the same model."""

    upstreams: list[SteadyProcess]
    coordinators: list[subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """A mesh without coordinators."""
    with process_mesh(tmp_path_factory.mktemp("midstream") / "mesh", replicas={"llm-coordinator": 0}) as running:
        yield running


@contextmanager
def two_coordinators(mesh: IsolatedMesh, directory: Path) -> Iterator[TwoCoordinators]:
    with ExitStack() as stack:
        upstreams = [stack.enter_context(steady_engine()) for _ in range(2)]
        coordinators = []
        for number, upstream in enumerate(upstreams):
            engines = [{"kind": "openai", "url": f"{upstream.url}/v1", "name": f"engine{number}"}]
            settings = {
                "SAGE_LLM_COORDINATOR_ENGINES": orjson.dumps(engines).decode(),
                "XDG_DATA_HOME": str(directory / f"data{number}"),
                "XDG_STATE_HOME": str(directory / f"state{number}"),
            }
            log = directory / f"coordinator{number}.log"
            coordinators.append(stack.enter_context(further_process(mesh, "llm-coordinator", log, settings)))
        urls = [upstream.url for upstream in upstreams]

        def both_ready(listed: Engines) -> bool:
            """And those of a test before, whose coordinators were killed, are gone."""
            return all(engine["url"].startswith(tuple(urls)) for engine in listed) and all_ready(2)(listed)

        asyncio.run(until_engines(mesh, both_ready, 30))
        yield TwoCoordinators(upstreams, coordinators)


async def listen(
    session: aiohttp.ClientSession, url: str, path: str, body: bytes, seen: ReceivedAnswer, engines: dict[int, str]
) -> None:
    """Stream one answer into ``seen``, and say in ``engines`` which engine began it."""
    parser = SseParser()
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{url}{path}", data=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        engines[id(seen)] = response.headers["x-sage-engine"]
        async for piece in response.content.iter_any():
            for event in parser.feed(piece):
                add_event(event.data, seen)


def request_of(number: int) -> tuple[Endpoint, bytes]:
    """The request of one client: chats and completions, some with a limit."""
    prompt = f"client {number} wants {TOKENS}"
    body: dict[str, Any] = {"model": "steady", "stream": True, "stream_options": {"include_usage": True}}
    if number % 4 == 0:
        body["max_tokens"] = TOKENS - 10
    if number % 2:
        return Endpoint.COMPLETIONS, orjson.dumps({**body, "prompt": prompt + "\n"})
    return Endpoint.CHAT_COMPLETIONS, orjson.dumps({**body, "messages": [{"role": "user", "content": prompt}]})


def uninterrupted(endpoint: Endpoint, body: bytes) -> ReceivedAnswer:
    return read_stream(b"".join(events(read_asked(endpoint, body), "x", 1)))


async def stream_through_a_kill(
    mesh: IsolatedMesh, victims: list[subprocess.Popen[Any]]
) -> tuple[list[ReceivedAnswer], Counter[str]]:
    requests = [request_of(number) for number in range(STREAMS)]
    seen = [ReceivedAnswer() for _ in requests]
    engines: dict[int, str] = {}

    def under_way() -> Counter[str]:
        """How many streams each engine is in the middle of; on a busy machine some wait for others to end."""
        return Counter(engines[id(into)] for into in seen if into.text.count(" ") > 8 and not into.finish)

    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        url = mesh.gateway_url
        tasks = [
            asyncio.create_task(listen(session, url, endpoint.path, body, into, engines))
            for (endpoint, body), into in zip(requests, seen, strict=True)
        ]
        while len(middle := under_way()) < 2 or min(middle.values()) < 4:
            assert not all(task.done() for task in tasks)
            await asyncio.sleep(0.01)
        for victim in victims:
            victim.kill()
        await asyncio.gather(*tasks)
    return seen, middle


@pytest.mark.parametrize("victim", ["engine", "coordinator", "both"])
def test_no_stream_is_lost_or_told_twice(mesh: IsolatedMesh, tmp_path: Path, victim: str) -> None:
    with two_coordinators(mesh, tmp_path) as running:
        victims: list[subprocess.Popen[Any]] = []
        if victim in ("engine", "both"):
            victims.append(running.upstreams[0].process)
        if victim in ("coordinator", "both"):
            victims.append(running.coordinators[0])
        began = time.monotonic()
        seen, engines = asyncio.run(stream_through_a_kill(mesh, victims))
        assert time.monotonic() - began < 30
        assert min(engines.values()) >= 4, "both engines had streams when one died"
        for number, one in enumerate(seen):
            expected = uninterrupted(*request_of(number))
            assert one.error == ""
            assert len(one.ids) == 1
            assert (one.text, one.roles, one.finish, one.usage, one.ended) == (
                expected.text,
                expected.roles,
                expected.finish,
                expected.usage,
                1,
            ), (number, os.linesep, mesh.log("gateway")[-2000:])
