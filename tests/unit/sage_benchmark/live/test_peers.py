from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sage_benchmark.live.peers import (
    CACHE_AWARE,
    PEERS,
    PeerStart,
    find_program,
    installed_programs,
    not_installed,
    peer_named,
    read_environments,
)
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_common.errors import InvalidRequestError

ENGINES = ["http://127.0.0.1:7001", "http://127.0.0.1:7002"]


@pytest.fixture
def start(tmp_path: Path) -> PeerStart:
    return PeerStart(ENGINES, tmp_path, 7100, 7101)


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


def test_litellm_gets_no_model_that_the_engines_do_not_have(start: PeerStart) -> None:
    chat_only = replace(start, models=SimulatedModels(llm="small", embedding=""))
    arguments = PEERS["litellm"].arguments(chat_only)
    entries = json.loads(Path(arguments[arguments.index("--config") + 1]).read_text())["model_list"]
    assert [entry["model_name"] for entry in entries] == ["small", "small"]


def test_smg_goes_by_classes_and_has_the_embedding_model_as_workers_of_its_own(start: PeerStart) -> None:
    arguments = PEERS["smg"].arguments(start)
    assert "--priority-scheduler-enabled" in arguments
    assert arguments[arguments.index("--priority-scheduler-default-max-class") + 1] == "interactive"
    embedding = ["http://127.0.0.1:7003", "http://127.0.0.1:7004"]
    workers = PEERS["smg"].workers(replace(start, embedding_engines=embedding))
    assert workers == [("/workers", {"url": url, "labels": {}}) for url in (*ENGINES, *embedding)]


def test_smg_goes_by_prefixes_where_it_is_to_and_by_nothing_else(start: PeerStart) -> None:
    arguments = PEERS[CACHE_AWARE].arguments(start)
    assert arguments[arguments.index("--policy") + 1] == "cache_aware"
    assert "--priority-scheduler-enabled" not in arguments
    assert PEERS[CACHE_AWARE].workers(start) == [("/workers", {"url": url, "labels": {}}) for url in ENGINES]


def test_each_peer_that_can_be_told_the_capacity_is_told_in_its_own_way(start: PeerStart) -> None:
    told = replace(start, slots=4, patience_seconds=90.0)
    for name in ("sglang-router", "vllm-router"):
        arguments = PEERS[name].arguments(told)
        assert arguments[arguments.index("--max-concurrent-requests") + 1] == "8"
        assert arguments[arguments.index("--queue-timeout-secs") + 1] == "90"
        assert "--max-concurrent-requests" not in PEERS[name].arguments(start)
    assert [body["labels"] for _, body in PEERS["smg"].workers(told)] == [{"max_running_requests": "4"}] * 2
    arguments = PEERS["litellm"].arguments(told)
    entries = json.loads(Path(arguments[arguments.index("--config") + 1]).read_text())["model_list"]
    assert {entry["litellm_params"]["max_parallel_requests"] for entry in entries} == {4}


def test_a_report_says_what_a_peer_was_told() -> None:
    assert "x-smg-priority" in PEERS["smg"].told(capacity=True)
    assert "max_running_requests" in PEERS["smg"].told(capacity=True)
    assert PEERS["smg"].told(capacity=False).endswith("no capacity (it takes 64 requests for each worker)")
    assert PEERS["vllm-router"].told(capacity=False) == "no classes: it knows none; no capacity"


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


def test_what_is_to_be_measured_has_to_be_installed(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="smg is not installed"):
        installed_programs([f"smg={tmp_path}"])
    program = tmp_path / "bin" / PEERS["smg"].program
    program.parent.mkdir()
    program.touch()
    assert installed_programs([f"smg={tmp_path}"]) == {"smg": program}
