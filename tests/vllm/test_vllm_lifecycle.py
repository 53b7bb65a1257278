"""The real vLLM through the whole mesh: started by command, adopted after its coordinator was killed, then stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_llama import build_tiny_llama

from sage_benchmark.gateway import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_platform.supervision.guarded_sweep import end_guarded

INSTALLED = Path(__file__).parents[2] / ".sage" / "vllm-venv" / "bin" / "python"
PYTHON = Path(os.environ.get("VLLM_PYTHON", INSTALLED))
ADOPTION_SECONDS = 3.0

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


async def chat(mesh: IsolatedMesh) -> str:
    body: dict[str, Any] = {
        "model": "tiny-llama",
        "messages": [{"role": "user", "content": "def main():"}],
        "max_tokens": 8,
        "temperature": 0,
        "ignore_eos": True,
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{mesh.gateway_url}/v1/chat/completions", json=body) as response,
    ):
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["choices"][0]["message"]["content"])


async def test_it_is_started_adopted_and_stopped_to_the_last_process(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = build_tiny_llama(tmp_path / "models" / "tiny-llama")
    replicas = {"embed-executor": 0, "dataflow-worker": 0, "llm-coordinator": 2}
    settings = {"SAGE_LLM_COORDINATOR_VLLM_PYTHON": str(PYTHON), "HF_HUB_OFFLINE": "1"}
    home = tmp_path / "mesh" / "state" / "sage"
    with (
        static_engine() as other,
        isolated_mesh(tmp_path / "mesh", llm=other, replicas=replicas, settings=settings) as mesh,
    ):
        sage(mesh, "engine", "preset", "apply", "cpu-tiny", str(model), seconds=400)
        before, text = processes(home), await chat(mesh)
        assert len(before) >= 3
        listed = json.loads(sage(mesh, "engine", "list", "--json"))
        (owner,) = [engine["executor_id"] for engine in listed if engine["implementation"] == "vllm"]
        killed = psutil.Process(int(owner.removeprefix("llm-coordinator-").partition("-")[0]))
        killed.kill()
        began = time.monotonic()
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{mesh.gateway_url}/v1/management/engines") as response:
                    engines = [e for e in (await response.json())["data"] if e["implementation"] == "vllm"]
                if [(e["phase"], e["executor_id"] != owner) for e in engines] == [("ready", True)]:
                    break
                assert time.monotonic() - began < ADOPTION_SECONDS, engines
        assert processes(home) == before
        assert await chat(mesh) == text
        assert "Starting to load model" in sage(mesh, "engine", "logs", "tiny-llama", "-n", "0")
        sage(mesh, "engine", "stop", "tiny-llama")
        assert not any(psutil.pid_exists(pid) for pid in before)
        assert end_guarded(home) == []
