"""Garbage on the ring: it is dropped and said so, in a few lines and not in as many as there were messages."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import urllib.request
from pathlib import Path

import nats
import orjson
import pytest

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_control_plane.request.engine_state import DEFAULT_POOL
from sage_platform import subjects

MESSAGES = 100_000
LINES = 200
BODY = {"model": "static", "messages": [{"role": "user", "content": "hi"}]}


async def flood(mesh: IsolatedMesh) -> None:
    """Publish garbage on every subject of the ring that something listens on."""
    chance = random.Random(20)
    garbage = [chance.randbytes(size) for size in (0, 1, 7, 30, 200)]
    connection = await nats.connect(mesh.nats_url)
    targets = [
        subjects.CLASSIFY,
        subjects.CANCEL,
        subjects.INQUIRE,
        subjects.HEARTBEAT,
        subjects.HELLO,
        subjects.EXPLAIN,
        subjects.JOBS_CANCEL,
        subjects.schedule(DEFAULT_POOL),
        subjects.report(DEFAULT_POOL),
        *(subjects.dispatch(engine_id) for engine_id in engines(mesh)),
    ]
    for number in range(MESSAGES):
        await connection.publish(targets[number % len(targets)], garbage[number % len(garbage)])
        if number % 1000 == 0:
            await connection.flush()
    await connection.flush()
    await connection.close()


def engines(mesh: IsolatedMesh) -> list[str]:
    """Ids of the engines."""
    command = [sys.executable, "-m", "sage_cli", "status", "--json"]
    done = subprocess.run(command, env=mesh.environment, capture_output=True, check=True, timeout=30)
    return [engine["engine_id"] for engine in orjson.loads(done.stdout)["engines"]]


def lines(mesh: IsolatedMesh) -> int:
    logs = (mesh.directory / "state" / "sage" / "logs").rglob("*.log*")
    return sum(path.read_bytes().count(b"\n") for path in logs)


def chat(mesh: IsolatedMesh) -> int:
    url = f"{mesh.gateway_url}/v1/chat/completions"
    request = urllib.request.Request(url, orjson.dumps(BODY), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(answer.status)


@pytest.mark.long
def test_a_hundred_thousand_garbage_messages_write_fewer_than_two_hundred_lines(tmp_path: Path) -> None:
    replicas = {"embed-executor": 0}
    with static_engine() as engine, isolated_mesh(tmp_path / "mesh", llm=engine, replicas=replicas) as mesh:
        assert chat(mesh) == 200
        before = lines(mesh)
        asyncio.run(flood(mesh))
        # Behind the garbage on every subject that a request passes.
        assert chat(mesh) == 200
        written = lines(mesh) - before
    assert 0 < written < LINES
