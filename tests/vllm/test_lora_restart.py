"""An adapter that a real vLLM was told to load outlives its coordinator and then its server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_llama import build_lora, build_tiny_llama

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh

INSTALLED = Path(__file__).parents[2] / ".sage" / "vllm-venv" / "bin" / "python"
PYTHON = Path(os.environ.get("VLLM_PYTHON", INSTALLED))
RESTART_SECONDS = 280.0
SEATS = 16

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}; run tests/vllm/install.sh"),
]

ARGUMENTS = (f"--max-num-seqs={SEATS}", "--enforce-eager", "--dtype=float32", "--enable-lora", "--max-lora-rank=8")
VARIABLES = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING=True", "VLLM_CPU_KVCACHE_SPACE=1")


def sage(mesh: IsolatedMesh, *arguments: str, seconds: float = 60) -> str:
    command = [sys.executable, "-m", "sage_cli", "engine", *arguments]
    done = subprocess.run(command, env=mesh.environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def vllm(mesh: IsolatedMesh) -> dict[str, Any]:
    """The engine as it is listed; {} while it is not."""
    listed = [engine for engine in json.loads(sage(mesh, "list", "--json")) if engine["implementation"] == "vllm"]
    return listed[0] if listed else {}


def wait_ready(mesh: IsolatedMesh, *, not_owner: str = "") -> dict[str, Any]:
    deadline = time.monotonic() + RESTART_SECONDS
    while (engine := vllm(mesh)).get("phase") != "ready" or engine["executor_id"] == not_owner:
        assert time.monotonic() < deadline, engine
    return engine


def polite(mesh: IsolatedMesh) -> str:
    body = {"model": "polite", "prompt": "def main():", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    url = f"{mesh.gateway_url}/v1/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(json.loads(response.read())["choices"][0]["text"])
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read()) from None


def test_an_adapter_outlives_its_coordinator_and_then_its_server(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = build_tiny_llama(tmp_path / "models" / "tiny-llama")
    adapters = {name: build_lora(tmp_path / name, model) for name in ("polite", "lost")}
    replicas = {"embed-executor": 0, "dataflow-worker": 0, "llm-coordinator": 2}
    settings = {"SAGE_LLM_COORDINATOR_VLLM_PYTHON": str(PYTHON), "HF_HUB_OFFLINE": "1"}
    options = [*(f"--arg={one}" for one in ARGUMENTS), *(f"--env={one}" for one in VARIABLES), "--device=cpu"]
    with (
        static_engine() as other,
        isolated_mesh(tmp_path / "mesh", llm=other, replicas=replicas, settings=settings) as mesh,
    ):
        sage(mesh, "start", str(model), *options, seconds=RESTART_SECONDS)
        started = vllm(mesh)
        assert started["max_concurrency"] == SEATS
        for name, folder in adapters.items():
            sage(mesh, "lora", "load", started["engine_id"], name, str(folder))
        text = polite(mesh)
        owner = started["executor_id"]
        psutil.Process(int(owner.removeprefix("llm-coordinator-").partition("-")[0])).kill()
        wait_ready(mesh, not_owner=owner)
        assert polite(mesh) == text
        (adapters["lost"] / "adapter_config.json").unlink()
        (server,) = [one for one in psutil.process_iter() if serves(one, model)]
        server.kill()
        psutil.wait_procs([server], 10)
        while vllm(mesh)["phase"] == "ready":
            pass
        engine = wait_ready(mesh)
        assert polite(mesh) == text
        assert engine["reason"].startswith("without the adapter 'lost': ")


def serves(process: psutil.Process, model: Path) -> bool:
    try:
        line = process.cmdline()
    except psutil.Error:
        return False
    return "vllm.entrypoints.openai.api_server" in line and str(model) in line and line[0] == str(PYTHON)
