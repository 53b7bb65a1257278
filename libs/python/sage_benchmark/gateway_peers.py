"""Peers in front of the engine that answers at once: what they carry and add, in turns with the mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from sage_benchmark.http_client import render_post
from sage_benchmark.live.peers import PeerStart, peer_named
from sage_benchmark.live.running_peer import started_peer
from sage_benchmark.load.closed_loop import ClosedLoopRun, percentile, run_closed_loop
from sage_benchmark.simulated_engine.engine_config import SimulatedModels

CHAT = "/v1/chat/completions"
MESH = "SAGE"
TURNS = 4
WARM_REQUESTS = 500
LOAD_SECONDS = 60.0


@dataclass(frozen=True)
class PeerRow:
    """What one system did; medians over the turns.

    Attributes:
        requests_per_second: at 64 connections.
        p50_ms: at one connection.
        rate_ratio: requests/s of the mesh over its own in the same turn.
    """

    name: str
    requests_per_second: float
    p50_ms: float
    rate_ratio: float


def measure_peers(
    engine: str,
    mesh_url: str,
    programs: Mapping[str, Path],
    directory: Path,
    body: bytes,
    *,
    single_requests: int,
    loaded_requests: int,
    repetitions: int,
) -> list[PeerRow]:
    """Return a row for the mesh and one for each peer.

    Args:
        engine: base URL of the engine, without ``/v1``; it serves ``static`` alone.
        programs: the program of each peer, by the peer's name.
        directory: for their files.
        body: of the requests.

    Raises:
        UnavailableError: a peer does not come up.
    """
    with ExitStack() as running:
        urls = {MESH: mesh_url}
        for name, program in programs.items():
            start = PeerStart([engine], directory / name, models=SimulatedModels("static", ""))
            urls[name] = running.enter_context(started_peer(peer_named(name), program, start)).urls[0]
        rates: dict[str, list[float]] = {name: [] for name in urls}
        latencies: dict[str, list[float]] = {name: [] for name in urls}
        for url in urls.values():
            _load(url, body, 16, WARM_REQUESTS)
        # In short turns, so that what else this machine does disturbs all alike.
        for _ in range(repetitions * TURNS):
            for name, url in urls.items():
                rates[name].append(_load(url, body, 64, loaded_requests // TURNS).requests_per_second)
            for name, url in urls.items():
                run = _load(url, body, 1, single_requests // TURNS)
                latencies[name].append(percentile([response.seconds * 1e3 for response in run.responses], 0.5))
    return [PeerRow(name, median(rates[name]), median(latencies[name]), _ratio(rates, name)) for name in urls]


def _ratio(rates: Mapping[str, Sequence[float]], name: str) -> float:
    return median(ours / theirs for ours, theirs in zip(rates[MESH], rates[name], strict=True))


def _load(base: str, body: bytes, concurrency: int, requests: int) -> ClosedLoopRun:
    request = render_post(base + CHAT, body)
    run = run_closed_loop(base, [request] * requests, concurrency=concurrency, time_limit_seconds=LOAD_SECONDS)
    return uvloop.run(run)
