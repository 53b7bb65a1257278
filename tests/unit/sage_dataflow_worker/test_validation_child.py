"""What every start of the reader costs, of which a worker has one after each pipeline that kills it."""

from __future__ import annotations

import subprocess
import sys


def test_it_imports_no_client_of_the_network_and_no_settings() -> None:
    code = "import sys, sage_dataflow_worker.validation_child; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    names = set(imported.stdout.split())
    assert "polars" in names
    assert not names & {"aiohttp", "nats", "grpc", "pydantic_settings"}
