"""What it costs to know the caller and to hold it to limits: two meshes in turn, one that asks for keys and keeps a
tenant with every limit there is, one that does neither."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from types import MappingProxyType

import uvloop

from sage_benchmark.http_client import render_post
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.load.closed_loop import ClosedLoopRun, percentile, run_closed_loop

CHAT = "/v1/chat/completions"
TENANT = "measured"
KEY = "sage-bench-key"
# None of them is reached.
LIMITS = (
    *("--rpm", "100000000", "--tpm", "10000000000", "--max-concurrent", "100000"),
    *("--daily-tokens", "100000000000", "--monthly-tokens", "1000000000000"),
    *("--daily-money", "1000000", "--monthly-money", "10000000", "--model", "static"),
)
WARM_REQUESTS = 500
TURNS = 8
COMMAND_SECONDS = 60
LOAD_SECONDS = 60.0


def measure_limits(
    engine: str,
    directory: Path,
    body: bytes,
    *,
    single_requests: int,
    loaded_requests: int,
    repetitions: int,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, float]:
    """Return requests/s at 64 connections and milliseconds at one, with everything on and with all off; medians.

    Args:
        engine: URL of an engine that answers at once.
        directory: for the files of both meshes.
        body: of the requests.
        settings: what is on beside keys and limits.
    """
    light = {"embed-executor": 0, "dataflow-worker": 0}
    keys = {"SAGE_ACCESS_API_KEYS": json.dumps({KEY: {"tenant": TENANT, "operator": True}})}
    with (
        isolated_mesh(directory / "off", llm=engine, replicas=light) as off,
        isolated_mesh(directory / "on", llm=engine, replicas=light, settings={**keys, **settings}) as on,
    ):
        _sage(on, "price", "set", "static", "--prompt", "0.15", "--cached", "0.075", "--completion", "0.6")
        _sage(on, "tenant", "set", TENANT, *LIMITS)
        meshes = {"off": off, "on": on}
        rates: dict[str, list[float]] = {name: [] for name in meshes}
        latencies: dict[str, list[float]] = {name: [] for name in meshes}
        for mesh in meshes.values():
            _load(mesh, body, 16, WARM_REQUESTS)
        # In short turns, so that what else this machine does disturbs both alike.
        for _ in range(repetitions * TURNS):
            for name, mesh in meshes.items():
                rates[name].append(_load(mesh, body, 64, loaded_requests // TURNS).requests_per_second)
            for name, mesh in meshes.items():
                run = _load(mesh, body, 1, single_requests // TURNS)
                latencies[name].append(percentile([response.seconds * 1e3 for response in run.responses], 0.5))
    return {
        **{f"{name}_requests_per_second": median(found) for name, found in rates.items()},
        **{f"{name}_p50_ms": median(found) for name, found in latencies.items()},
        "rate_ratio": median(a / b for a, b in zip(rates["on"], rates["off"], strict=True)),
        "latency_ratio": median(a / b for a, b in zip(latencies["on"], latencies["off"], strict=True)),
    }


def _load(mesh: IsolatedMesh, body: bytes, concurrency: int, requests: int) -> ClosedLoopRun:
    base = mesh.gateway_url
    request = render_post(base + CHAT, body, [("authorization", f"Bearer {KEY}")])
    run = run_closed_loop(base, [request] * requests, concurrency=concurrency, time_limit_seconds=LOAD_SECONDS)
    return uvloop.run(run)


def _sage(mesh: IsolatedMesh, *arguments: str) -> None:
    command = [sys.executable, "-m", "sage_cli", *arguments]
    subprocess.run(command, env=mesh.environment, check=True, capture_output=True, timeout=COMMAND_SECONDS)
