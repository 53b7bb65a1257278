"""Stands in for the Python that has vLLM: takes its command line, logs, starts a child, and serves or fails.

``FAKE_VLLM`` says how: ``serve``, ``crash`` (end at once), or ``deaf`` (serve, and ignore SIGTERM in the child).
``FAKE_VLLM_PIDS`` names the file for the ids of both processes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

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
    say(f"loading {option('--model')}")
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
    Path(os.environ["FAKE_VLLM_PIDS"]).write_text(f"{os.getpid()} {worker.pid}")
    uvloop.run(answer())


async def answer() -> None:
    static = StaticAnswer(3, model=option("--served-model-name"))
    _server, url = await serve("127.0.0.1", int(option("--port")), static)
    say(f"serving at {url}")
    await asyncio.Event().wait()


main()
