"""The programs that the embedding benchmark compares with, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from sage_benchmark.http_client import fetch
from sage_common.errors import UnavailableError
from sage_common.ports import free_port

Vectors = npt.NDArray[np.float32]
READY_SECONDS = 180.0
STOP_SECONDS = 10.0

# Runs in a process of its own: what it imports must not slow down the load generator, nor share its threads.
_SENTENCE_TRANSFORMERS = """
import json, sys, time
import numpy as np
from sentence_transformers import SentenceTransformer
texts = json.load(sys.stdin)
model = SentenceTransformer(sys.argv[1], device="cpu", local_files_only=True)
model.encode(texts[:64])
runs = []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    vectors = model.encode(texts, batch_size=32)
    runs.append(time.perf_counter() - began)
np.save(sys.argv[3], np.asarray(vectors, dtype=np.float32))
print(json.dumps({"texts_per_second": len(texts) / sorted(runs)[len(runs) // 2]}))
"""


def offline_plan(texts: Sequence[str], settings: Mapping[str, str], repetitions: int) -> dict[str, Any]:
    """Run the executor's backend without a service; see the module ``offline_plan``."""
    command = [sys.executable, "-m", "sage_benchmark.embed.offline_plan", "--repetitions", str(repetitions)]
    return _run(command, texts, {**os.environ, **settings})


def sentence_transformers(
    texts: Sequence[str], model: str, repetitions: int, vectors: Path
) -> tuple[dict[str, Any], Vectors]:
    """Run the library in fp32, with its own defaults; return its figures and its vectors."""
    command = [sys.executable, "-c", _SENTENCE_TRANSFORMERS, model, str(repetitions), str(vectors)]
    result = _run(command, texts, dict(os.environ))
    return result, np.load(vectors)


def model_folder(model: str) -> str:
    """The folder of the executor's model, for programs that take a path."""
    script = "import sys; from sage_embed_executor.models.weights import find_weights; print(find_weights(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", script, model], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextmanager
def infinity(python: Path, folder: str, log: Path) -> Iterator[str]:
    """Serve the model with infinity-emb, installed in another environment; gives its base URL.

    Raises:
        UnavailableError: it did not come up; the message ends with what it said.
    """
    port = free_port()
    command = [str(python.parent / "infinity_emb"), "v2", "--model-id", folder, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--engine", "torch", "--url-prefix", "/v1"]
    command += ["--served-model-name", "model", "--no-bettertransformer"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_up(f"http://127.0.0.1:{port}/v1/models", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            fetch(url)
            return
        except OSError:
            time.sleep(0.2)
    said = log.read_text(errors="replace")[-2_000:]
    raise UnavailableError(f"{url} did not answer; its log ends with:\n{said}")


def _run(command: Sequence[str], texts: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(command, input=orjson.dumps(list(texts)), env=dict(environment), capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-2_000:]
        raise RuntimeError(f"{' '.join(command[:3])} ended with status {done.returncode}: {said}")
    result: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return result
