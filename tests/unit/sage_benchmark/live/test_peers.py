from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sage_benchmark.live.peer_benchmark import not_installed
from sage_benchmark.live.peers import PEERS, PeerStart, find_program, peer_named, read_environments
from sage_common.errors import InvalidRequestError

ENGINES = ["http://127.0.0.1:7001", "http://127.0.0.1:7002"]


@pytest.fixture
def start(tmp_path: Path) -> PeerStart:
    return PeerStart(ENGINES, 7100, 7101, tmp_path)


@pytest.mark.parametrize("name", ["sglang-router", "vllm-router"])
def test_a_router_is_told_of_every_engine_and_both_of_its_ports(name: str, start: PeerStart) -> None:
    arguments = PEERS[name].arguments(start)
    at = arguments.index("--worker-urls")
    assert arguments[at + 1 : at + 3] == ENGINES
    assert arguments[arguments.index("--port") + 1] == "7100"
    assert arguments[arguments.index("--prometheus-port") + 1] == "7101"
    assert "--policy" not in arguments, "peers run with their defaults"


def test_litellm_gets_each_model_of_each_engine_in_its_file(start: PeerStart) -> None:
    arguments = PEERS["litellm"].arguments(start)
    entries = json.loads(Path(arguments[arguments.index("--config") + 1]).read_text())["model_list"]
    assert {(entry["model_name"], entry["litellm_params"]["api_base"]) for entry in entries} == {
        (model, f"{url}/v1") for model in ("simulated", "simulated-embedding") for url in ENGINES
    }
    assert arguments[arguments.index("--port") + 1] == "7100"


def test_environments_are_read_by_the_peers_names() -> None:
    assert read_environments(["litellm=/a/b", "vllm-router=/c"]) == {
        "litellm": Path("/a/b"),
        "vllm-router": Path("/c"),
    }


@pytest.mark.parametrize("given", ["litellm", "litellm=", "litelm=/a"])
def test_an_environment_that_is_for_no_peer_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequestError):
        read_environments([given])


def test_an_unknown_peer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match="sglang-router"):
        peer_named("sglang")


def test_a_program_is_looked_for_in_the_given_environment_alone(tmp_path: Path) -> None:
    peer = PEERS["litellm"]
    assert find_program(peer, tmp_path) is None
    program = tmp_path / "bin" / peer.program
    program.parent.mkdir()
    program.touch()
    assert find_program(peer, tmp_path) == program


def test_without_an_environment_the_path_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = PEERS["litellm"]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "on-path"))
    assert find_program(peer, None) is None
    program = tmp_path / "on-path" / peer.program
    program.parent.mkdir()
    program.touch(mode=0o755)
    assert find_program(peer, None) == program


def test_a_missing_peer_is_reported_with_the_way_to_install_it(tmp_path: Path) -> None:
    said = not_installed(PEERS["litellm"], tmp_path)
    assert "not installed" in said
    assert "'litellm[proxy]'" in said
    assert "--peer-env litellm=" in said
