"""Engines whose coordinator dies while they serve or load, or hangs: none is lost, doubled or left behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fixtures.fake_vllm_mesh import (
    ADOPTION_SECONDS,
    ORPHAN_SECONDS,
    SLACK_SECONDS,
    engines,
    mesh_with_fake,
    ready_elsewhere,
    replica_of,
    servers,
    start,
    stream,
    until,
    wait_for_coordinator,
    whole_answer,
)
from fixtures.process_mesh import engines_of, further_process, sage

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_llm_coordinator.adoption import HUNG_SECONDS, SILENT_SECONDS

LOADING_SECONDS = 8.0
# Some looks of every coordinator, and the time in which one that woke up lets go.
WATCHED_SECONDS = 7.0
LETS_GO_SECONDS = 1.0


@dataclass(frozen=True)
class TwoCoordinators:
    """A mesh with two coordinators, and where its engines write their pids down."""

    mesh: IsolatedMesh
    directory: Path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoCoordinators]:
    directory = tmp_path_factory.mktemp("takeover")
    with mesh_with_fake(directory, coordinators=2) as mesh:
        yield TwoCoordinators(mesh, directory)


@pytest.fixture
def two(shared: TwoCoordinators) -> Iterator[TwoCoordinators]:
    """The mesh with both coordinators up and no engine of theirs."""
    for status in shared.mesh.processes("llm-coordinator"):
        shared.mesh.wait_ready(status.name, not_pid=0)
    yield shared
    for engine in engines(shared.mesh):
        sage(shared.mesh, "engine", "stop", engine["engine_id"])


def ready_engines(listed: list[dict[str, Any]]) -> list[str]:
    return [engine["executor_id"] for engine in listed if engine["phase"] == "ready"]


@asynccontextmanager
async def watched(mesh: IsolatedMesh) -> AsyncIterator[list[list[str]]]:
    """Collect, for as long as the context lasts, which executors have a ready engine: a list for each look."""
    seen: list[list[str]] = []

    async def look() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                listed = await engines_of(session, mesh)
                seen.append(ready_engines([one for one in listed if one["implementation"] == "vllm"]))
                await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


@pytest.mark.alone
def test_a_coordinator_adopts_the_engine_of_a_killed_one_and_its_streams_go_on(two: TwoCoordinators) -> None:
    mesh, directory = two.mesh, two.directory
    start(mesh)
    (engine,) = engines(mesh)
    before = servers(directory)
    victim = mesh.process(replica_of(mesh, engine["executor_id"]))

    async def kill_in_the_midst() -> tuple[float, str]:
        under_way = asyncio.Event()
        streaming = asyncio.create_task(stream(mesh, 150, under_way))
        await under_way.wait()
        victim.kill()
        seconds = await until(ready_elsewhere(engine["executor_id"]), mesh, ADOPTION_SECONDS + SLACK_SECONDS)
        return seconds, await streaming

    seconds, text = asyncio.run(kill_in_the_midst())
    assert seconds < ADOPTION_SECONDS
    assert text == whole_answer(150)
    assert servers(directory) == before
    # The killed one is back, and finds nothing to start.
    name = replica_of(mesh, engines(mesh)[0]["executor_id"])
    other = "llm-coordinator-2" if name == "llm-coordinator" else "llm-coordinator"
    mesh.wait_ready(other, not_pid=victim.pid)
    asyncio.run(until(lambda listed: len(listed) == 1, mesh, 5))
    assert servers(directory) == before


@pytest.mark.long
@pytest.mark.alone
def test_a_server_that_still_loads_when_its_coordinator_is_killed_is_adopted_and_waited_for(
    two: TwoCoordinators,
) -> None:
    mesh, directory = two.mesh, two.directory
    command = [sys.executable, "-m", "sage_cli", "engine", "start", "acme/steady", "--no-memory-check"]
    command += ["--env", f"FAKE_VLLM_SECONDS={LOADING_SECONDS}"]
    starting = subprocess.Popen(
        command, env=mesh.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        loading = "loading weights"
        asyncio.run(until(lambda listed: [e["reason"].startswith(loading) for e in listed] == [True], mesh, 20))
        (engine,) = engines(mesh)
        before = servers(directory)
        owner = engine["executor_id"]
        mesh.process(replica_of(mesh, owner)).kill()
        seconds = asyncio.run(
            until(
                lambda listed: (
                    [(e["phase"], e["executor_id"] != owner, e["reason"].startswith(loading)) for e in listed]
                    == [("starting", True, True)]
                ),
                mesh,
                ADOPTION_SECONDS + SLACK_SECONDS,
            )
        )
        assert seconds < ADOPTION_SECONDS
        (adopted,) = engines(mesh)
        told, errors = starting.communicate(timeout=LOADING_SECONDS + 20)
    finally:
        starting.kill()
        starting.wait(10)
    # Who had ordered the engine is told of it under its new id.
    assert (starting.returncode, told.strip()) == (0, adopted["engine_id"]), errors
    assert asyncio.run(stream(mesh, 40, asyncio.Event())) == whole_answer(40)
    assert servers(directory) == before


@pytest.mark.long
@pytest.mark.alone
def test_the_engine_of_a_hung_coordinator_is_taken_over_and_not_served_by_it_when_it_goes_on(
    two: TwoCoordinators,
) -> None:
    mesh, directory = two.mesh, two.directory
    start(mesh)
    (engine,) = engines(mesh)
    before = servers(directory)
    owner = engine["executor_id"]
    name = replica_of(mesh, owner)
    hung = mesh.process(name)

    async def hang_and_go_on() -> None:
        under_way = asyncio.Event()
        begun = asyncio.create_task(stream(mesh, 150, under_way))
        await under_way.wait()
        hung.send_signal(signal.SIGSTOP)
        waiting = asyncio.create_task(stream(mesh, 30, asyncio.Event()))
        adopted = SILENT_SECONDS + HUNG_SECONDS + ADOPTION_SECONDS + SLACK_SECONDS
        await until(ready_elsewhere(owner), mesh, adopted)
        assert await begun == whole_answer(150)
        assert await waiting == whole_answer(30)
        async with watched(mesh) as seen:
            went_on = time.monotonic()
            hung.send_signal(signal.SIGCONT)
            while time.monotonic() - went_on < WATCHED_SECONDS:
                assert await stream(mesh, 30, asyncio.Event()) == whole_answer(30)
        adopter = {executor for ready in seen for executor in ready} - {owner}
        assert len(adopter) == 1
        # Its last heartbeat before it read that it has been replaced may still name the engine.
        late = [number for number, ready in enumerate(seen) if set(ready) != adopter]
        assert len(late) * WATCHED_SECONDS / len(seen) < LETS_GO_SECONDS, seen
        assert all(set(ready) == adopter for ready in seen[len(seen) // 2 :])

    try:
        asyncio.run(hang_and_go_on())
    finally:
        hung.send_signal(signal.SIGCONT)
    assert servers(directory) == before
    assert "another coordinator has taken the engine over; letting it go" in mesh.log(name)
    # It works on, and has the other's engine when that one dies.
    (taken,) = engines(mesh)
    mesh.process(replica_of(mesh, taken["executor_id"])).kill()
    asyncio.run(until(ready_elsewhere(taken["executor_id"]), mesh, ADOPTION_SECONDS + SLACK_SECONDS))
    assert servers(directory) == before
    assert replica_of(mesh, engines(mesh)[0]["executor_id"]) == name


# What it may take is three times what it takes, so others may run beside it.
def test_a_coordinator_that_is_started_again_takes_its_engine_back(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        start(mesh)
        (engine,) = engines(mesh)
        before = servers(tmp_path)
        mesh.process("llm-coordinator").kill()
        asyncio.run(until(ready_elsewhere(engine["executor_id"]), mesh, ORPHAN_SECONDS))
        assert servers(tmp_path) == before


@pytest.mark.alone
def test_an_engine_that_nobody_adopts_ends_within_ten_seconds(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path, coordinators=0) as mesh:
        with further_process(mesh, "llm-coordinator", tmp_path / "log"):
            wait_for_coordinator(mesh)
            start(mesh)
            assert len(servers(tmp_path)) == 2
        began = time.monotonic()
        while servers(tmp_path):
            assert time.monotonic() - began < ORPHAN_SECONDS + SLACK_SECONDS
            time.sleep(0.05)


async def restarted(mesh: IsolatedMesh, service: str) -> str:
    """Restart a service, one process at a time; return what was said."""
    return await asyncio.to_thread(sage, mesh, "restart", service)


@pytest.mark.alone
def test_a_coordinator_that_is_restarted_hands_its_engine_over_under_a_stream(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        start(mesh)
        (engine,) = engines(mesh)
        before = servers(tmp_path)
        tokens = 400

        async def restart_in_the_midst() -> str:
            under_way = asyncio.Event()
            streaming = asyncio.create_task(stream(mesh, tokens, under_way))
            await under_way.wait()
            await restarted(mesh, "llm-coordinator")
            return await streaming

        assert asyncio.run(restart_in_the_midst()) == whole_answer(tokens)
        # The server is the same, and its engine another's; nothing was started twice and nothing is left behind.
        assert servers(tmp_path) == before
        (taken,) = engines(mesh)
        assert (taken["phase"], taken["name"]) == ("ready", engine["name"])
        assert taken["executor_id"] != engine["executor_id"]
        assert "another coordinator has taken the engine over; letting it go" in mesh.log("llm-coordinator")
        assert "request submitted again" not in mesh.log("gateway")
