from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sage_benchmark.gateway_benchmark import BODY, static_engine
from sage_benchmark.gateway_peers import MESH, measure_peers
from sage_benchmark.live.peers import PEERS, Peer


def test_a_peer_is_measured_in_turns_with_the_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A front that answers by itself, and one that takes 20 ms for it.
    for name, arguments in (("at-once", []), ("slow", ["--delay-ms", "20"])):
        listen = ["-m", "sage_benchmark.static_engine", *arguments, "--port"]
        peer = Peer(name, "", "python", lambda start, listen=listen: [*listen, str(start.port)])
        monkeypatch.setitem(PEERS, name, peer)
    programs = {"at-once": Path(sys.executable), "slow": Path(sys.executable)}
    with static_engine() as engine:
        mesh, alike, slow = measure_peers(
            engine, engine, programs, tmp_path, BODY, single_requests=40, loaded_requests=800, repetitions=1
        )
    assert (mesh.name, alike.name, slow.name) == (MESH, "at-once", "slow")
    assert mesh.rate_ratio == 1.0
    assert slow.p50_ms >= 20 > mesh.p50_ms
    assert slow.rate_ratio > alike.rate_ratio
    assert slow.requests_per_second < mesh.requests_per_second
