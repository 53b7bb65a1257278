"""A LoRA adapter of a real vLLM, there from its start or loaded by ``sage engine lora``, is a model like any other."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import MODEL, PYTHON, RESIDENT, VllmServer
from tiny_llama import build_lora

from sage_benchmark.isolated_mesh import IsolatedMesh

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}; run tests/vllm/install.sh"),
]


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return orjson.loads(response.read())


def post(url: str, body: dict[str, Any]) -> tuple[int, Any]:
    request = urllib.request.Request(url, orjson.dumps(body), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, orjson.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, orjson.loads(error.read())


def chat(url: str, model: str) -> tuple[int, Any]:
    """Ask a model, at a gateway or at vLLM itself."""
    messages = [{"role": "user", "content": "def main():"}]
    body = {"model": model, "messages": messages, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    return post(f"{url}/v1/chat/completions", body)


def text(answer: tuple[int, Any]) -> str:
    status, value = answer
    assert status == 200, value
    return str(value["choices"][0]["message"]["content"])


def sage(mesh: IsolatedMesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sage_cli", "engine", "lora", *arguments]
    return subprocess.run(command, env=mesh.environment, capture_output=True, text=True, timeout=60, check=False)


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # heartbeats carry the news


def test_an_adapter_that_vllm_was_started_with_answers_as_it_does_at_vllm(
    mesh: IsolatedMesh, vllm_servers: tuple[VllmServer, VllmServer]
) -> None:
    assert get(f"{mesh.gateway_url}/v1/models/{RESIDENT}")["parent"] == MODEL
    adapted = chat(mesh.gateway_url, RESIDENT)
    assert adapted[1]["model"] == RESIDENT
    assert text(adapted) == text(chat(vllm_servers[0].url, RESIDENT))
    assert text(adapted) != text(chat(mesh.gateway_url, MODEL))


def test_an_adapter_is_loaded_answers_and_is_unloaded(
    mesh: IsolatedMesh, vllm_servers: tuple[VllmServer, VllmServer], tiny_model: Path, tmp_path: Path
) -> None:
    adapter = build_lora(tmp_path / "polite", tiny_model)
    (engine,) = get(f"{mesh.gateway_url}/v1/management/engines")["data"]
    loaded = sage(mesh, "load", engine["engine_id"], "polite", str(adapter))
    assert loaded.returncode == 0, loaded.stderr
    assert "polite" in loaded.stdout
    gateway = mesh.gateway_url
    soon(lambda: chat(gateway, "polite")[0] == 200)
    assert get(f"{gateway}/v1/models/polite")["parent"] == MODEL
    polite = chat(gateway, "polite")
    assert polite[1]["model"] == "polite"
    assert text(polite) == text(chat(vllm_servers[0].url, "polite"))
    assert len({text(polite), text(chat(gateway, MODEL)), text(chat(gateway, RESIDENT))}) == 3
    refused = sage(mesh, "load", engine["engine_id"], "other", str(tmp_path / "nothing"))
    assert refused.returncode != 0
    assert sage(mesh, "unload", engine["engine_id"], "polite").returncode == 0
    soon(lambda: chat(gateway, "polite")[0] == 404)
    assert chat(gateway, MODEL)[0] == 200
