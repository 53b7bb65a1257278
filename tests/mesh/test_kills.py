"""kill -9 of any one service while requests are in flight: the others go on, every request ends, and it comes back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fixtures.batch_client import batch_when, chat_line, client_of, ended_batch, lines_of, started_batch
from fixtures.process_mesh import static_mesh
from fixtures.second_gateway import second_gateway

from sage_benchmark.isolated_mesh import IsolatedMesh

IN_FLIGHT = 50
# At 32 at a time, a second each: several seconds.
BATCH_LINES = 220
DEADLINE_SECONDS = 20.0
BODY = {"model": "static", "messages": [{"role": "user", "content": "hi"}]}
# Statuses that say clearly what happened; a connection error is the gateway's own death.
CLEAR = {200, 429, 502, 503, 504}


async def ask(session: aiohttp.ClientSession, mesh: IsolatedMesh) -> int | str:
    headers = {"X-Sage-Timeout-Ms": str(int(DEADLINE_SECONDS * 1000))}
    try:
        async with session.post(f"{mesh.gateway_url}/v1/chat/completions", json=BODY, headers=headers) as response:
            body = await response.json()
            assert response.status == 200 or body["error"]["message"]
            return response.status
    except aiohttp.ClientConnectionError:
        return "disconnected"


async def load_with_a_kill(mesh: IsolatedMesh, victim: str) -> Counter[int | str]:
    timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS + 5)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [asyncio.create_task(ask(session, mesh)) for _ in range(IN_FLIGHT)]
        await asyncio.sleep(0.3)  # the engine takes a second: all are in flight now
        mesh.process(victim).kill()
        return Counter(await asyncio.gather(*tasks))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """A mesh that each test leaves whole again, in front of an engine that takes a second."""
    with static_mesh(tmp_path_factory.mktemp("kills") / "mesh", "--delay-ms", "1000") as running:
        yield running


@pytest.mark.parametrize("victim", ["classifier", "scheduler", "llm-coordinator", "gateway", "nats"])
def test_killing_one_process_with_fifty_requests_in_flight(mesh: IsolatedMesh, victim: str) -> None:
    pid = mesh.process(victim).pid
    began = time.monotonic()
    outcomes = asyncio.run(load_with_a_kill(mesh, victim))
    assert time.monotonic() - began < DEADLINE_SECONDS + 5
    assert outcomes.total() == IN_FLIGHT
    if victim == "gateway":
        assert set(outcomes) <= CLEAR | {"disconnected"}
    else:
        assert set(outcomes) <= CLEAR, outcomes
    if victim in ("classifier", "scheduler"):
        assert outcomes[200] == IN_FLIGHT, (outcomes, mesh.log(victim))
    mesh.wait_ready(victim, not_pid=pid)

    async def ask_until_answered() -> None:
        async with aiohttp.ClientSession() as session:
            while await ask(session, mesh) != 200:
                pass

    asyncio.run(asyncio.wait_for(ask_until_answered(), 30))


async def batch_through_a_kill(mesh: IsolatedMesh) -> tuple[Any, dict[str | None, dict[str, Any]]]:
    """Begin a batch, kill the gateway that runs it in the midst, and return what another made of it."""
    content = b"".join(chat_line(f"r{number}", "hi", model="static") for number in range(BATCH_LINES))
    async with client_of(mesh.gateway_url, "killed") as first:
        batch = await started_batch(first, content)
        # Now that the first has it, there is another.
        with second_gateway(mesh) as other_url:
            async with client_of(other_url, "killed") as other:
                begun = await batch_when(other, batch.id, lambda batch: batch.request_counts.completed > 0)
                assert begun.request_counts.completed < BATCH_LINES
                mesh.process("gateway").kill()
                batch = await ended_batch(other, batch.id)
                return batch, await lines_of(other, batch.output_file_id)


def test_a_batch_goes_on_in_another_gateway_when_its_own_is_killed(mesh: IsolatedMesh) -> None:
    pid = mesh.process("gateway").pid
    batch, lines = asyncio.run(batch_through_a_kill(mesh))
    assert batch.status == "completed"
    assert batch.request_counts.completed == BATCH_LINES
    assert set(lines) == {f"r{number}" for number in range(BATCH_LINES)}
    assert {line["response"]["status_code"] for line in lines.values()} == {200}
    mesh.wait_ready("gateway", not_pid=pid)


def test_a_replica_takes_over_with_nothing_lost(tmp_path: Path) -> None:
    """With two of everything but the gateway, no single death is seen by a client."""
    replicas = {"classifier": 2, "scheduler": 2, "llm-coordinator": 2}
    with static_mesh(tmp_path / "mesh", "--delay-ms", "1000", replicas=replicas) as mesh:
        for victim in ("classifier", "scheduler", "llm-coordinator"):
            pid = mesh.process(victim).pid
            outcomes = asyncio.run(load_with_a_kill(mesh, victim))
            assert outcomes == {200: IN_FLIGHT}, (victim, outcomes)
            mesh.wait_ready(victim, not_pid=pid)
