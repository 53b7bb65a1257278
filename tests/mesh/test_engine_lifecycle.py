"""Engines that SAGE starts, a program in vLLM's place: whatever is killed, none is lost, doubled or left behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from fixtures.steady_answer import events, read_asked

from sage_benchmark.gateway import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_control_plane.requests import Endpoint
from sage_mesh.sse import DONE, SseParser, read_piece
from sage_platform.supervision.guarded_sweep import end_guarded

FAKE = Path(__file__).parents[1] / "fixtures" / "fake_vllm.py"
ADOPTION_SECONDS = 3.0
ORPHAN_SECONDS = 10.0
# Of a machine that does other things too.
SLACK_SECONDS = 2.0


@contextmanager
def mesh_with_fake(
    directory: Path, *, coordinators: int = 1, behaviour: str = "steady", failures: int = 5
) -> Iterator[IsolatedMesh]:
    """A mesh whose vLLM is a program of the tests. Nothing of it may be left when it has been taken down."""
    directory.mkdir(parents=True, exist_ok=True)
    script = directory / "python-with-vllm"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    script.chmod(0o755)
    replicas = {"embed-executor": 0, "dataflow-worker": 0, "llm-coordinator": coordinators}
    settings = {
        "SAGE_LLM_COORDINATOR_VLLM_PYTHON": str(script),
        "SAGE_LLM_COORDINATOR_VLLM_PORTS": "0-0",
        "SAGE_LLM_COORDINATOR_VLLM_MAX_FAILURES": str(failures),
        "FAKE_VLLM": behaviour,
        "FAKE_VLLM_PIDS": str(directory / "pids"),
    }
    with (
        static_engine() as other,
        isolated_mesh(directory / "mesh", llm=other, replicas=replicas, settings=settings) as mesh,
    ):
        yield mesh
    assert servers(directory) == []
    assert end_guarded(directory / "mesh" / "state" / "sage") == []


def servers(directory: Path) -> list[int]:
    """The processes of servers that run: two of each, whose pids every start has written down."""
    pids = directory / "pids"
    lines = pids.read_text().splitlines() if pids.exists() else []
    started = [int(pid) for line in lines for pid in line.split()]
    return [pid for pid in started if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def sage(mesh: IsolatedMesh, *arguments: str) -> str:
    """Run a command as a user would; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "sage_cli", *arguments], env=mesh.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def start(mesh: IsolatedMesh, *arguments: str) -> str:
    """Start an engine; return its id when it is ready."""
    return sage(mesh, "engine", "start", "acme/steady", "--no-memory-check", *arguments)


def engines(mesh: IsolatedMesh) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(sage(mesh, "engine", "list", "--json"))
    return [engine for engine in listed if engine["implementation"] == "vllm"]


def replica_of(mesh: IsolatedMesh, executor_id: str) -> str:
    """Name of the process that an executor is, by the pid in its id."""
    pid = int(executor_id.removeprefix("llm-coordinator-").partition("-")[0])
    return next(s.name for s in mesh.state.processes if s.identity is not None and s.identity.pid == pid)


def wait_for_coordinator(mesh: IsolatedMesh) -> None:
    while '"extractive"' not in sage(mesh, "engine", "list", "--json"):
        pass


async def until(condition: Callable[[list[dict[str, Any]]], bool], mesh: IsolatedMesh, seconds: float) -> float:
    """Wait until the gateway lists engines of which ``condition`` holds; return the seconds that it took."""
    began = time.monotonic()
    listed: list[dict[str, Any]] = []
    async with aiohttp.ClientSession() as session:
        while time.monotonic() - began < seconds:
            async with session.get(f"{mesh.gateway_url}/v1/management/engines") as response:
                listed = [one for one in (await response.json())["data"] if one["implementation"] == "vllm"]
            if condition(listed):
                return time.monotonic() - began
            await asyncio.sleep(0.02)
    raise AssertionError((listed, mesh.log("llm-coordinator")[-3000:], mesh.log("llm-coordinator-2")[-3000:]))


def ready_elsewhere(owner: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda listed: [(e["phase"], e["executor_id"] != owner) for e in listed] == [("ready", True)]


async def stream(mesh: IsolatedMesh, tokens: int, told: asyncio.Event) -> str:
    """One streamed chat; ``told`` is set in the midst of it."""
    text = ""
    parser = SseParser()
    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{mesh.gateway_url}/v1/chat/completions", json=steady_chat(tokens)) as response,
    ):
        assert response.status == 200, await response.text()
        async for data in response.content.iter_any():
            for event in parser.feed(data):
                if event.data != DONE:
                    text += read_piece(event.data).text
            if text.count(" ") > 20:
                told.set()
    return text


def steady_chat(tokens: int) -> dict[str, Any]:
    return {"model": "steady", "stream": True, "messages": [{"role": "user", "content": f"client 1 wants {tokens}"}]}


def whole_answer(tokens: int) -> str:
    asked = read_asked(Endpoint.CHAT_COMPLETIONS, json.dumps(steady_chat(tokens)).encode())
    parsed = SseParser().feed(b"".join(events(asked, "x", 1)))
    return "".join(read_piece(event.data).text for event in parsed if event.data != DONE)


def test_a_coordinator_adopts_the_engine_of_a_killed_one_and_its_streams_go_on(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path, coordinators=2) as mesh:
        start(mesh)
        (engine,) = engines(mesh)
        before = servers(tmp_path)
        victim = mesh.process(replica_of(mesh, engine["executor_id"]))

        async def kill_in_the_midst() -> tuple[float, str]:
            told = asyncio.Event()
            streaming = asyncio.create_task(stream(mesh, 150, told))
            await told.wait()
            victim.kill()
            seconds = await until(ready_elsewhere(engine["executor_id"]), mesh, ADOPTION_SECONDS + SLACK_SECONDS)
            return seconds, await streaming

        seconds, text = asyncio.run(kill_in_the_midst())
        assert seconds < ADOPTION_SECONDS
        assert text == whole_answer(150)
        assert servers(tmp_path) == before
        # The killed one is back, and finds nothing to start.
        name = replica_of(mesh, engines(mesh)[0]["executor_id"])
        other = "llm-coordinator-2" if name == "llm-coordinator" else "llm-coordinator"
        mesh.wait_ready(other, not_pid=victim.pid)
        asyncio.run(until(lambda listed: len(listed) == 1, mesh, 5))
        assert servers(tmp_path) == before


def test_a_coordinator_that_is_started_again_takes_its_engine_back(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        start(mesh)
        (engine,) = engines(mesh)
        before = servers(tmp_path)
        mesh.process("llm-coordinator").kill()
        asyncio.run(until(ready_elsewhere(engine["executor_id"]), mesh, ORPHAN_SECONDS))
        assert servers(tmp_path) == before


def test_an_engine_that_nobody_adopts_ends_within_ten_seconds(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path, coordinators=0) as mesh:
        command = [sys.executable, "-m", "sage_llm_coordinator"]
        with (tmp_path / "log").open("wb") as log:
            coordinator = subprocess.Popen(command, env=mesh.environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for_coordinator(mesh)
            start(mesh)
            assert len(servers(tmp_path)) == 2
        finally:
            coordinator.kill()
            coordinator.wait(10)
        began = time.monotonic()
        while servers(tmp_path):
            assert time.monotonic() - began < ORPHAN_SECONDS + SLACK_SECONDS
            time.sleep(0.05)


def test_what_operators_started_comes_back_after_everything_was_stopped_until_they_stop_it(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        start(mesh, "--name", "first")
        stopped = start(mesh, "--name", "second")
        assert len(servers(tmp_path)) == 4
        sage(mesh, "engine", "stop", stopped)
        assert len(servers(tmp_path)) == 2
    with mesh_with_fake(tmp_path) as mesh:
        asyncio.run(until(lambda listed: [e["phase"] for e in listed] == ["ready"], mesh, 20))
        assert [engine["labels"]["registered"] for engine in engines(mesh)] == ["first"]
        sage(mesh, "engine", "stop", "first")
        assert servers(tmp_path) == []


def test_down_leaves_nothing_even_when_the_supervisor_was_killed(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        start(mesh)
        assert len(servers(tmp_path)) == 2
        mesh.supervisor.kill()
        mesh.supervisor.wait(10)
        sage(mesh, "down")
        assert servers(tmp_path) == []


def test_an_engine_that_fails_again_and_again_says_so_and_can_be_restarted(tmp_path: Path) -> None:
    with mesh_with_fake(tmp_path, behaviour="crash", failures=1) as mesh:
        with pytest.raises(AssertionError, match="CUDA out of memory"):
            start(mesh, "--name", "broken")
        (engine,) = engines(mesh)
        assert engine["phase"] == "unhealthy"
        assert engine["reason"].startswith("given up after 1 starts")
        restarted = sage(mesh, "engine", "restart", "broken", "--no-wait")
        assert restarted != engine["engine_id"]
        assert "CUDA out of memory" in sage(mesh, "engine", "logs", "broken")


@pytest.mark.parametrize("preset", ["cpu-tiny"])
def test_a_preset_is_applied_and_its_log_can_be_read(tmp_path: Path, preset: str) -> None:
    with mesh_with_fake(tmp_path) as mesh:
        engine = sage(mesh, "engine", "preset", "apply", preset, "acme/steady")
        assert "given 1 GiB for KV cache" in sage(mesh, "engine", "logs", engine)
        assert sage(mesh, "engine", "stop", engine).endswith("0 requests aborted")
