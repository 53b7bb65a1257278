"""Peers in front of the engine that answers at once: what they carry and add, in turns with the mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sage_benchmark.live.peers import KNOWS_CLASSES, PeerStart, peer_named
from sage_benchmark.live.running_peer import started_peer
from sage_benchmark.load.chat_load import measure_in_turns
from sage_benchmark.report.bars import Bar
from sage_benchmark.simulated_engine.engine_config import SimulatedModels

MESH = "SAGE"
TURNS = 4


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
        found = measure_in_turns(
            urls,
            body,
            turns=repetitions * TURNS,
            loaded_requests=loaded_requests // TURNS,
            single_requests=single_requests // TURNS,
        )
    ours = found[MESH].rates
    return [
        PeerRow(
            name,
            median(each.rates),
            median(each.p50_ms),
            median(mine / theirs for mine, theirs in zip(ours, each.rates, strict=True)),
        )
        for name, each in found.items()
    ]


def peer_bars(rows: Sequence[PeerRow]) -> list[Bar]:
    """Return what the mesh is to reach beside peers that were measured."""
    title = "requests/s at concurrency 64, to SMG with its priority scheduler"
    return [Bar(title, row.rate_ratio, 0.8, "×", at_most=False) for row in rows if row.name == KNOWS_CLASSES]
