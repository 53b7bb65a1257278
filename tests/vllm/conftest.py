"""Two real vLLM servers with the same tiny model, started once for all tests that share them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_llama import build_lora, build_tiny_llama

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_common.ports import free_port

START_SECONDS = 280
INSTALLED = Path(__file__).parents[2] / ".sage" / "vllm-venv" / "bin" / "python"
PYTHON = Path(os.environ.get("VLLM_PYTHON", INSTALLED))
MODEL = "tiny-llama"
# An adapter that both have from their start.
RESIDENT = "resident"


@dataclass
class VllmServer:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """kill -9 of the server and of its engine's process."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model."""
    pytest.importorskip("transformers")
    return build_tiny_llama(tmp_path_factory.mktemp("models") / MODEL)


@pytest.fixture(scope="session")
def vllm_servers(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VllmServer, VllmServer]]:
    """Two servers, in float32 so that the same tokens have the same logits whether they were prompt or answer."""
    logs = tmp_path_factory.mktemp("vllm")
    adapter = build_lora(tmp_path_factory.mktemp("adapters") / RESIDENT, tiny_model, seed=11)
    servers = [start(tiny_model, adapter, logs / f"{number}.log") for number in range(2)]
    try:
        deadline = time.monotonic() + START_SECONDS
        for server in servers:
            while not server.answers():
                assert server.process.poll() is None, server.log.read_text()[-2000:]
                assert time.monotonic() < deadline, server.log.read_text()[-2000:]
                time.sleep(0.2)  # the server tells nobody when it is ready
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.kill()


@pytest.fixture(scope="session")
def mesh(
    vllm_servers: tuple[VllmServer, VllmServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IsolatedMesh]:
    """A mesh whose only engine is the first server."""
    replicas = {"embed-executor": 0, "dataflow-worker": 0}
    llm = f"{vllm_servers[0].url}/v1"
    with isolated_mesh(tmp_path_factory.mktemp("mesh"), llm=llm, replicas=replicas) as running:
        yield running


def start(model: Path, adapter: Path, log: Path) -> VllmServer:
    """Start a server with an adapter, that may load others at run time."""
    port = free_port("127.0.0.1")
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--max-num-seqs", "16"]
    command += ["--dtype", "float32", "--enable-lora", "--max-lora-rank", "8"]
    command += ["--lora-modules", f"{RESIDENT}={adapter}"]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SAGE_", "PYTHON"))}
    environment |= {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            list(map(str, command)), env=environment, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    return VllmServer(process, port, log)
