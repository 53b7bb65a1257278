"""A LoRA adapter loaded into a real vLLM by ``sage engine lora`` is a model like any other."""

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
from conftest import MODEL, PYTHON, VllmServer
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


def answer(mesh: IsolatedMesh, model: str) -> tuple[int, Any]:
    body = {"model": model, "prompt": "def main():", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    return post(f"{mesh.gateway_url}/v1/completions", body)


def sage(mesh: IsolatedMesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sage_cli", "engine", "lora", *arguments]
    return subprocess.run(command, env=mesh.environment, capture_output=True, text=True, timeout=60, check=False)


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # heartbeats carry the news


def test_an_adapter_is_loaded_answers_and_is_unloaded(
    mesh: IsolatedMesh, vllm_servers: tuple[VllmServer, VllmServer], tiny_model: Path, tmp_path: Path
) -> None:
    adapter = build_lora(tmp_path / "polite", tiny_model)
    (engine,) = get(f"{mesh.gateway_url}/v1/management/engines")["data"]
    loaded = sage(mesh, "load", engine["engine_id"], "polite", str(adapter))
    assert loaded.returncode == 0, loaded.stderr
    assert "polite" in loaded.stdout
    soon(lambda: answer(mesh, "polite")[0] == 200)
    models = {card["id"]: card for card in get(f"{mesh.gateway_url}/v1/models")["data"]}
    assert models["polite"]["parent"] == MODEL
    _, plain = answer(mesh, MODEL)
    _, polite = answer(mesh, "polite")
    assert (plain["model"], polite["model"]) == (MODEL, "polite")
    assert polite["choices"][0]["text"] != plain["choices"][0]["text"]
    body = {"model": "polite", "prompt": "def main():", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    direct = post(f"{vllm_servers[0].url}/v1/completions", body)[1]
    assert polite["choices"] == direct["choices"]
    refused = sage(mesh, "load", engine["engine_id"], "other", str(tmp_path / "nothing"))
    assert refused.returncode != 0
    assert sage(mesh, "unload", engine["engine_id"], "polite").returncode == 0
    soon(lambda: answer(mesh, "polite")[0] == 404)
    assert answer(mesh, MODEL)[0] == 200
