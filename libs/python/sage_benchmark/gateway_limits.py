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

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.load.chat_load import measure_in_turns

TENANT = "measured"
KEY = "sage-bench-key"
# None of them is reached.
LIMITS = (
    *("--rpm", "100000000", "--tpm", "10000000000", "--max-concurrent", "100000"),
    *("--daily-tokens", "100000000000", "--monthly-tokens", "1000000000000"),
    *("--daily-money", "1000000", "--monthly-money", "10000000", "--model", "static"),
)
TURNS = 8
COMMAND_SECONDS = 60


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
        found = measure_in_turns(
            {"off": off.gateway_url, "on": on.gateway_url},
            body,
            turns=repetitions * TURNS,
            loaded_requests=loaded_requests // TURNS,
            single_requests=single_requests // TURNS,
            headers=[("authorization", f"Bearer {KEY}")],
        )
    all_off, all_on = found["off"], found["on"]
    return {
        **{f"{name}_requests_per_second": median(each.rates) for name, each in found.items()},
        **{f"{name}_p50_ms": median(each.p50_ms) for name, each in found.items()},
        "rate_ratio": median(a / b for a, b in zip(all_on.rates, all_off.rates, strict=True)),
        "latency_ratio": median(a / b for a, b in zip(all_on.p50_ms, all_off.p50_ms, strict=True)),
    }


def _sage(mesh: IsolatedMesh, *arguments: str) -> None:
    command = [sys.executable, "-m", "sage_cli", *arguments]
    subprocess.run(command, env=mesh.environment, check=True, capture_output=True, timeout=COMMAND_SECONDS)
