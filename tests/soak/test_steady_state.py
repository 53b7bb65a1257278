"""Minutes of mixed load: nothing fails, nothing is left in flight, memory stays flat."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import aiohttp
import pytest
from fixtures.process_mesh import static_mesh

from sage_benchmark.isolated_mesh import IsolatedMesh

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
CLIENTS = 32
# After the warm-up a service may grow by this share, or by a few MB where it is small.
GROWTH = 0.10
GROWTH_BYTES = 12e6
SERVICES = ("gateway", "classifier", "scheduler", "llm-coordinator")

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 180)]


async def client(mesh: IsolatedMesh, session: aiohttp.ClientSession, seed: int, until: float) -> tuple[int, int]:
    """Send chats, streams and streams given up half way; return how many were answered and given up."""
    generator = random.Random(seed)
    answered = given_up = 0
    while time.monotonic() < until:
        kind = generator.choice(("whole", "stream", "given up"))
        text = "word " * generator.randint(1, 400)
        body = {"model": "static", "stream": kind != "whole", "messages": [{"role": "user", "content": text}]}
        async with session.post(f"{mesh.gateway_url}/v1/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            if kind == "given up":
                await response.content.readany()
                response.close()
                given_up += 1
            else:
                assert await response.read()
                answered += 1
    return answered, given_up


async def load(mesh: IsolatedMesh, seconds: float, seed: int) -> tuple[int, int]:
    until = time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        pairs = await asyncio.gather(*(client(mesh, session, seed + n, until) for n in range(CLIENTS)))
    return sum(a for a, _ in pairs), sum(g for _, g in pairs)


async def outstanding(mesh: IsolatedMesh) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{mesh.gateway_url}/v1/management/status") as response:
        return int((await response.json())["in_flight"])


def resident(mesh: IsolatedMesh) -> dict[str, int]:
    return {service: mesh.process(service).memory_info().rss for service in SERVICES}


def test_memory_stays_flat_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with static_mesh(tmp_path / "mesh") as mesh:
        asyncio.run(load(mesh, SECONDS / 4, seed=1))
        before = resident(mesh)
        answered, given_up = asyncio.run(load(mesh, SECONDS, seed=2))
        after = resident(mesh)
        assert answered > SECONDS * 100
        assert given_up > 0
        for service in SERVICES:
            allowed = max(before[service] * GROWTH, GROWTH_BYTES)
            assert after[service] - before[service] < allowed, (service, before, after)

        async def until_empty() -> None:
            while await outstanding(mesh) > 0:
                pass

        asyncio.run(asyncio.wait_for(until_empty(), 10))
        assert all(status.restarts == 0 for status in mesh.state.processes)
