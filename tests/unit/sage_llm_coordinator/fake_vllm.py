"""Stands in for the Python that has vLLM: takes its command line, logs as vLLM does, starts a child, serves or fails.

``FAKE_VLLM`` says how: ``serve``, ``crash`` (end at once), ``stuck`` (never serve), ``deaf`` (serve, and ignore SIGTERM
in the child) or ``pooling`` (say that it embeds). ``FAKE_VLLM_PIDS`` names a file that gets the ids of both processes,
a line for each start. ``FAKE_VLLM_SECONDS`` is how long loading takes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import uvloop

from sage_benchmark.static_engine import StaticAnswer, serve


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> None:
    assert sys.argv[1:3] == ["-m", "vllm.entrypoints.openai.api_server"], sys.argv
    behaviour = os.environ["FAKE_VLLM"]
    say("(EngineCore pid=1) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: ...")
    say(f"(Worker pid=2) INFO [cpu_model_runner.py:68] Starting to load model {option('--model')}...")
    if any(name.startswith("SAGE_") for name in os.environ):
        say("settings of SAGE leaked into the environment")
        sys.exit(3)
    if behaviour == "crash":
        say("CUDA out of memory")
        sys.exit(7)
    deaf = signal.SIG_IGN if behaviour == "deaf" else signal.SIG_DFL
    worker = subprocess.Popen(
        ["sleep", "600"], preexec_fn=lambda: signal.signal(signal.SIGTERM, deaf), stdout=subprocess.DEVNULL
    )
    with open(os.environ["FAKE_VLLM_PIDS"], "a", encoding="ascii") as pids:
        pids.write(f"{os.getpid()} {worker.pid}\n")
    say("Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00, 26.31it/s]")
    time.sleep(float(os.environ.get("FAKE_VLLM_SECONDS", "0.3")))
    say(f"given {os.environ.get('VLLM_CPU_KVCACHE_SPACE')} GiB for KV cache on node 0.")
    if behaviour == "stuck":
        time.sleep(600)
    tasks = ["embed"] if behaviour == "pooling" else ["generate"]
    say(f"(APIServer pid=3) INFO [entry.py:136] Supported tasks: {tasks}")
    uvloop.run(answer())


async def answer() -> None:
    static = StaticAnswer(3, model=option("--served-model-name"))
    _server, url = await serve("127.0.0.1", int(option("--port")), static)
    say(f"(APIServer pid=3) INFO [entry.py:140] Starting vLLM server on {url}")
    await asyncio.Event().wait()


main()
