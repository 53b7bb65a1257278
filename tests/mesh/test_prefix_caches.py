"""What engines tell of their prefix caches comes to the scheduler, and what a restart has emptied is gone there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fixtures.eventually import eventually

from sage_benchmark.live.mesh_system import MeshWithPolicy, mesh_systems
from sage_benchmark.live.simulated_pool import SimulatedPool, simulated_pool
from sage_benchmark.simulated_engine.answer_text import answer_text
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels

pytest.importorskip("zmq")
pytest.importorskip("msgspec")

pytestmark = [pytest.mark.long, pytest.mark.alone]

MODELS = SimulatedModels(embedding="")
CONFIG = EngineModelConfig(block_tokens=16, block_bytes=88)
ANSWER_TOKENS = 8


def conversation(name: str, turns: int) -> list[dict[str, str]]:
    """What is said up to a question; each is some blocks long."""
    said = []
    for turn in range(turns):
        asked = f"[sim {name}] " if not turn else ""
        said.append({"role": "user", "content": asked + f"{name} asks {turn} " * 40})
        if turn + 1 < turns:
            said.append({"role": "assistant", "content": answer_text(name, 0, ANSWER_TOKENS)})
    return said


async def ask(session: aiohttp.ClientSession, url: str, name: str, turns: int) -> tuple[str, dict[str, float | None]]:
    """Ask; return the engine that answered, and the share of the prompt that each candidate should have had cached."""
    body: dict[str, Any] = {"model": MODELS.llm, "messages": conversation(name, turns), "stream": True}
    async with session.post(f"{url}/v1/chat/completions", json=body | {"max_tokens": ANSWER_TOKENS}) as response:
        data = await response.read()
        assert response.status == 200, data
        assert b'token_ids":[' not in data, "nobody asked for them"
        request_id = response.headers["x-request-id"]
    async with session.get(f"{url}/v1/management/decisions/{request_id}") as response:
        [decided] = (await response.json())["decisions"]
    [dispatch] = decided["dispatches"]
    return dispatch["engine_id"], {one["engine_id"]: one["cached_share"] for one in dispatch["candidates"]}


async def through_a_restart(system: MeshWithPolicy, pool: SimulatedPool) -> None:
    async with aiohttp.ClientSession() as session:
        chosen, shares = await ask(session, system.url, "ann", 1)
        assert set(shares.values()) == {0.0}
        again, shares = await ask(session, system.url, "ann", 2)
        assert again == chosen
        assert shares[chosen] is not None
        assert shares[chosen] > 0.3
        await ask(session, system.url, "ann", 3)

        number = int(chosen.removeprefix("engine-").partition("-")[0]) - 1
        engine = pool.engines[number]
        await asyncio.to_thread(engine.kill)
        await asyncio.to_thread(engine.start)
        await asyncio.to_thread(system.prepare)

        async def is_gone() -> bool:
            # Whoever answers has the conversation again; another one each time shows what the restarted engine has.
            _, shares = await ask(session, system.url, "ann", 3)
            return shares.get(chosen) == 0.0

        await eventually(is_gone)


@pytest.mark.timeout(150)
def test_a_conversation_is_known_where_it_is_cached_until_its_engine_is_restarted(tmp_path: Path) -> None:
    with (
        simulated_pool(2, MODELS, config=CONFIG, kv_events=True) as pool,
        mesh_systems(tmp_path / "mesh", pool, {"hybrid": "hybrid"}, caches=True) as [system],
    ):
        asyncio.run(through_a_restart(system, pool))
