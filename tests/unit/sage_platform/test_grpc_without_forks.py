"""Services that start other processes do so without gRPC's handlers for forks."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, importlib, sys
importlib.import_module(sys.argv[1])
import grpc.aio, uvloop

async def main():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    print(await child.wait())
    await server.stop(None)

uvloop.run(main())
"""


def started_by(module: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, module]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize("module", ["sage_dataflow_worker.main", "sage_llm_coordinator.main"])
def test_what_a_service_starts_runs_no_handler_of_grpc(module: str) -> None:
    ended = started_by(module)
    assert (ended.stdout, "fork() handlers" in ended.stderr) == ("0\n", False)


def test_it_would_be_seen() -> None:
    assert "fork() handlers" in started_by("grpc").stderr
