"""The real vLLM through the whole mesh: started by command, taken over as it loads and as it serves, then stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_llama import build_lora, build_tiny_llama

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_llm_coordinator.adoption import HUNG_SECONDS, SILENT_SECONDS
from sage_llm_coordinator.servers.vllm_progress import STARTING
from sage_platform.supervision.guarded_sweep import end_guarded
from sage_platform.supervision.process_status import ProcessStatus

INSTALLED = Path(__file__).parents[2] / ".sage" / "vllm-venv" / "bin" / "python"
PYTHON = Path(os.environ.get("VLLM_PYTHON", INSTALLED))
MODEL = "tiny-llama"
ADOPTION_SECONDS = 3.0
LET_GO = "another coordinator has taken the engine over; letting it go"

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}; run tests/vllm/install.sh"),
]


def sage(mesh: IsolatedMesh, *arguments: str, seconds: float = 60) -> str:
    command = [sys.executable, "-m", "sage_cli", *arguments]
    done = subprocess.run(command, env=mesh.environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def processes(home: Path) -> set[int]:
    """What runs under the guardians of a mesh: everything in the sessions of the processes that carry its mark."""
    running = [p.pid for p in psutil.process_iter(["status"]) if p.info["status"] != psutil.STATUS_ZOMBIE]
    sessions = {session(pid) for pid in running if marked(pid, home)}
    return {pid for pid in running if session(pid) in sessions - {0}}


def marked(pid: int, home: Path) -> bool:
    try:
        return bool(psutil.Process(pid).environ().get("GUARDIAN_HOME") == str(home))
    except (psutil.Error, OSError):
        return False


def session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def sessions(home: Path) -> set[int]:
    """The servers that run: each has a session of its own."""
    return {session(pid) for pid in processes(home)}


async def chat(url: str, model: str = MODEL) -> str:
    """What a model answers at a gateway, or at vLLM itself."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "def main():"}],
        "max_tokens": 8,
        "temperature": 0,
        "ignore_eos": True,
    }
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["choices"][0]["message"]["content"])


async def until(mesh: IsolatedMesh, condition: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
    """Wait until there is one engine of vLLM, of which ``condition`` holds; return it."""
    began = time.monotonic()
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{mesh.gateway_url}/v1/management/engines") as response:
                engines = [e for e in (await response.json())["data"] if e["implementation"] == "vllm"]
            if len(engines) == 1 and condition(engines[0]):
                return dict(engines[0])
            assert time.monotonic() - began < seconds, engines
            await asyncio.sleep(0.02)


def coordinator_of(mesh: IsolatedMesh, engine: dict[str, Any]) -> ProcessStatus:
    """The process that has an engine."""
    pid = int(engine["executor_id"].removeprefix("llm-coordinator-").partition("-")[0])
    return next(s for s in mesh.processes("llm-coordinator") if s.identity is not None and s.identity.pid == pid)


def elsewhere(engine: dict[str, Any], phases: Collection[str]) -> Callable[[dict[str, Any]], bool]:
    return lambda one: one["executor_id"] != engine["executor_id"] and one["phase"] in phases


async def nothing_happens(_mesh: IsolatedMesh, engine: dict[str, Any]) -> dict[str, Any]:
    return engine


async def kill_and_adopt(
    mesh: IsolatedMesh, engine: dict[str, Any], phases: Collection[str] = ("ready",)
) -> dict[str, Any]:
    """kill -9 of an engine's coordinator; return the engine at the other one, when the killed one is back."""
    coordinator = coordinator_of(mesh, engine)
    victim = mesh.process(coordinator.name)
    victim.kill()
    adopted = await until(mesh, elsewhere(engine, phases), ADOPTION_SECONDS)
    await asyncio.to_thread(mesh.wait_ready, coordinator.name, not_pid=victim.pid)
    return adopted


async def start_and_adopt(mesh: IsolatedMesh, home: Path, order: list[str]) -> dict[str, Any]:
    """Order an engine, kill its coordinator while vLLM loads; return it when who ordered it knows that it is ready."""
    command = [sys.executable, "-m", "sage_cli", "engine", "start", *order]
    pipe = asyncio.subprocess.PIPE
    starting = await asyncio.create_subprocess_exec(*command, env=mesh.environment, stdout=pipe, stderr=pipe)
    try:
        loading = await until(mesh, lambda e: e["phase"] == "starting" and e["reason"] not in ("", STARTING), 200)
        before = sessions(home)
        assert len(before) == 1
        adopted = await kill_and_adopt(mesh, loading, ("starting", "ready"))
        told, errors = await asyncio.wait_for(starting.communicate(), 300)
    finally:
        if starting.returncode is None:
            starting.kill()
            await starting.wait()
    assert (starting.returncode, told.decode().strip()) == (0, adopted["engine_id"]), errors.decode()
    assert sessions(home) == before
    return await until(mesh, lambda engine: engine["phase"] == "ready", 1)


async def hang_and_adopt(mesh: IsolatedMesh, engine: dict[str, Any]) -> dict[str, Any]:
    """Stop an engine's coordinator and let it go on when the other has the engine; return that when it has let go."""
    name = coordinator_of(mesh, engine).name
    hung = mesh.process(name)
    hung.send_signal(signal.SIGSTOP)
    try:
        waiting = asyncio.create_task(chat(mesh.gateway_url))
        adopted = await until(mesh, elsewhere(engine, ("ready",)), SILENT_SECONDS + HUNG_SECONDS + ADOPTION_SECONDS)
        await waiting
    finally:
        hung.send_signal(signal.SIGCONT)
    until_logged = time.monotonic() + 10
    while LET_GO not in mesh.log(name):
        assert time.monotonic() < until_logged
        await asyncio.sleep(0.02)
    return await until(mesh, lambda one: bool(one["engine_id"] == adopted["engine_id"]), 5)


async def test_it_outlives_its_coordinators_with_its_adapters_and_is_stopped_to_the_last_process(
    tmp_path: Path,
) -> None:
    pytest.importorskip("transformers")
    model = build_tiny_llama(tmp_path / "models" / MODEL)
    fixed, late = (build_lora(tmp_path / name, model, seed) for seed, name in enumerate(("fixed", "late"), 1))
    replicas = {"embed-executor": 0, "dataflow-worker": 0, "llm-coordinator": 2}
    settings = {"SAGE_LLM_COORDINATOR_VLLM_PYTHON": str(PYTHON), "HF_HUB_OFFLINE": "1"}
    home = tmp_path / "mesh" / "state" / "sage"
    order = [str(model), "--preset", "cpu-tiny", "--env", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"]
    order += [f"--arg={word}" for word in ("--enable-lora", "--max-lora-rank=8", "--lora-modules", f"fixed={fixed}")]
    with (
        static_engine() as other,
        isolated_mesh(tmp_path / "mesh", llm=other, replicas=replicas, settings=settings) as mesh,
    ):
        engine = await start_and_adopt(mesh, home, order)
        before = processes(home)
        assert len(before) >= 3
        sage(mesh, "engine", "lora", "load", engine["engine_id"], "late", str(late))
        server = engine["url"].removesuffix("/v1")
        texts = {name: await chat(server, name) for name in (MODEL, "fixed", "late")}
        assert len(set(texts.values())) == 3
        for take_over in (nothing_happens, kill_and_adopt, hang_and_adopt):
            engine = await take_over(mesh, engine)
            for name, text in texts.items():
                assert await chat(mesh.gateway_url, name) == text
            assert processes(home) == before
        assert "Starting to load model" in sage(mesh, "engine", "logs", MODEL, "-n", "0")
        sage(mesh, "engine", "stop", MODEL)
        assert not any(psutil.pid_exists(pid) for pid in before)
        assert end_guarded(home) == []
