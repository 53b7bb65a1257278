"""An engine stalls with requests on it: the other answers them, and the one that stalls is told to stop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fixtures.eventually import eventually

from sage_benchmark.live.mesh_system import mesh_systems
from sage_benchmark.live.simulated_pool import SimulatedPool, simulated_pool
from sage_benchmark.simulated_engine.answer_text import answer_text, marker
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_mesh.openai_answer import read_delta
from sage_mesh.sse import DONE, SseParser

pytestmark = pytest.mark.alone

MODELS = SimulatedModels()
TOKENS = 20
# Requests that are allowed to be hedged are one in twenty.
TAUGHT = 160
ASKED = 8
STALL_SECONDS = 60.0
# An overdue request is hedged after some tenths of a second; what is above that is for a busy machine.
BOUND_SECONDS = 8.0


class Client:
    """Asks the gateway, and keeps what it was answered."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.seconds: dict[str, float] = {}
        self.attempts: dict[str, int] = {}
        # The mesh's ids of the requests, which the engines are given.
        self.ids: dict[str, str] = {}

    async def ask(self, name: str) -> None:
        """Send the request and check every byte of the answer. The name says what is asked for."""
        kind, body = name.split("-")[0], self._body(name)
        path = "embeddings" if kind == "embed" else "chat/completions"
        began = time.monotonic()
        async with self._session.post(f"{self._url}/v1/{path}", json=body) as response:
            data = await response.read()
            assert response.status == 200, data
            self.attempts[name] = int(response.headers["x-sage-attempts"])
            self.ids[name] = response.headers["x-request-id"]
        self.seconds[name] = time.monotonic() - began
        if kind == "stream":
            events = [event.data for event in SseParser().feed(data)]
            assert events[-1] == DONE
            assert events.count(DONE) == 1
            text = "".join(read_delta(event).text for event in events[:-1])
            assert text == answer_text(name, 0, TOKENS)
        elif kind == "whole":
            message = (await response.json())["choices"][0]["message"]
            assert message["content"] == answer_text(name, 0, TOKENS)
        else:
            assert len((await response.json())["data"]) == 1

    def _body(self, name: str) -> dict[str, Any]:
        if name.startswith("embed"):
            return {"model": MODELS.embedding, "input": f"a text called {name}"}
        messages = [{"role": "user", "content": f"{marker(name, TOKENS)} please"}]
        body = {"model": MODELS.llm, "messages": messages, "max_tokens": TOKENS}
        # How long the tokens of an answer take is learned from streams that tell how many there were.
        return (
            {**body, "stream": True, "stream_options": {"include_usage": True}} if name.startswith("stream") else body
        )


async def record(session: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    async with session.get(f"{url}/sim/record") as response:
        value = await response.json()
    return value["requests"] if isinstance(value, dict) else value


async def through_a_stall(url: str, pool: SimulatedPool) -> None:
    timeout = aiohttp.ClientTimeout(total=STALL_SECONDS / 2)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        client = Client(session, url)
        for batch in range(TAUGHT // 4):
            kinds = ("stream", "stream", "embed", "embed")
            await asyncio.gather(*(client.ask(f"{kind}-taught{batch}x{n}") for n, kind in enumerate(kinds)))
        await asyncio.to_thread(pool.engines[0].set_faults, {"stall_seconds": STALL_SECONDS})
        kinds = ("stream", "whole", "embed", "stream", "stream", "embed", "whole", "stream")
        names = [f"{kind}-late{n}" for n, kind in enumerate(kinds)]
        client.seconds.clear()
        await asyncio.gather(*(client.ask(name) for name in names))
        assert set(client.seconds) == set(names)
        assert max(client.seconds.values()) < BOUND_SECONDS, client.seconds
        ids = {client.ids[name] for name in names}

        async def stalled() -> dict[str, str]:
            entries = await record(session, pool.urls[0])
            return {entry["request_id"]: entry["state"] for entry in entries if entry["request_id"] in ids}

        async def all_stopped() -> bool:
            return set((await stalled()).values()) == {"cancelled"}

        await eventually(all_stopped)
        rescued = set(await stalled())
        # Requests were on the engine, and each of them says that it took two attempts.
        assert {client.ids[name] for name in names if client.attempts[name] == 2} == rescued
        entries = [entry for engine in pool.urls for entry in await record(session, engine)]
        complete = Counter(entry["request_id"] for entry in entries if entry["state"] == "complete")
        assert {complete[one] for one in ids} == {1}


@pytest.mark.timeout(150)
def test_requests_on_an_engine_that_stalls_are_answered_by_the_other_and_stopped_there(tmp_path: Path) -> None:
    with simulated_pool(2, MODELS) as pool, mesh_systems(tmp_path / "mesh", pool, {"hybrid": "hybrid"}) as [system]:
        asyncio.run(through_a_stall(system.url, pool))
