from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from sage_cli.mesh.tables import duration, megabytes, mesh_tables
from sage_cli.mesh.view import LONG_START_SECONDS, EngineView, MeshView, ProcessView
from sage_client.management.views import PoolView

PORTS = {"http": 48888, "grpc": 45050, "metrics": 49100}
GATEWAY = ProcessView("gateway", "gateway", "ready", "127.0.0.1", 123456, PORTS, True, 92_000_000, 5.0)
POOL = PoolView("main", "hybrid", "scheduler-1", 31, 12, 4_096, 7, 5, 23, 900)
ENGINE = EngineView("e-1", "openai", "ready", "main", "c-1", ("m",), ("llm_chat",), 2, 64, 0)


def rendered(view: MeshView, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(mesh_tables(view, width))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_eighty_columns_hold_every_port_and_pid() -> None:
    text = rendered(MeshView("ready", processes=(GATEWAY,), engines=(ENGINE,)), 80)
    for part in ("http:48888 grpc:45050 metrics:49100", "123456", "92 MB", "2/64", "chat"):
        assert part in text


@pytest.mark.parametrize(("source", "shown"), [("told", "2/64"), ("configured", "2/64"), ("unknown", "2/?")])
def test_an_engine_shows_who_said_what_it_takes(source: str, shown: str) -> None:
    text = rendered(MeshView("ready", engines=(replace(ENGINE, capacity_source=source),)), 120)
    assert shown in text
    assert source in text


def test_a_process_that_runs_and_does_not_serve_is_shown_so() -> None:
    silent = ProcessView("gateway", "gateway", "ready", "127.0.0.1", 1, message="was killed by SIGKILL")
    text = rendered(MeshView("ready", processes=(silent,)), 120)
    assert "not serving" in text
    assert "SIGKILL" in text


def test_healthy_means_that_all_serve_and_an_engine_is_ready() -> None:
    healthy = MeshView("ready", processes=(GATEWAY,), engines=(ENGINE,))
    assert healthy.healthy
    assert healthy.to_json()["healthy"] is True
    assert not MeshView("ready", processes=(GATEWAY,)).healthy
    assert not MeshView("stopped").healthy


@pytest.mark.parametrize("name", ["gateway (next)", "gateway (leaving)"])
def test_a_process_on_its_way_in_or_out_of_a_restart_is_no_problem(name: str) -> None:
    passing = replace(GATEWAY, name=name, serving=False)
    assert MeshView("ready", processes=(GATEWAY, passing), engines=(ENGINE,)).healthy
    assert not MeshView("ready", processes=(replace(passing, name="gateway"),), engines=(ENGINE,)).healthy


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59, "59s"), (61, "1m 1s"), (3_725, "1h 2m"), (180_000, "2d 2h")]
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_memory_has_a_decimal_only_where_it_matters() -> None:
    assert (megabytes(1_500_000), megabytes(92_400_000)) == ("1.5 MB", "92 MB")


@pytest.mark.parametrize(("implementation", "well"), [("openai", False), ("openai-embedding", False), ("vllm", True)])
def test_a_server_that_somebody_else_should_have_started_is_missed_and_one_that_loads_here_is_not(
    implementation: str, well: bool
) -> None:
    reason = "GET http://gpu:8001/health failed: Connection refused"
    starting = replace(ENGINE, name="far", phase="starting", implementation=implementation, reason=reason)
    view = MeshView("ready", processes=(GATEWAY,), engines=(ENGINE, starting))
    assert view.healthy is well
    assert view.problems == (() if well else (f"engine far has not answered yet: {reason}",))


def test_a_pool_shows_how_many_answers_were_interrupted() -> None:
    view = MeshView("ready", processes=(GATEWAY,), engines=(ENGINE,), pools=(POOL,))
    (shown,) = [line.split() for line in rendered(view, 80).splitlines() if line.startswith("main")]
    assert (shown[1:4], shown[-1]) == (["hybrid", "31", "12"], "23")
    (listed,) = view.to_json()["pools"]
    assert (listed["interrupted"], listed["recomputed_tokens"]) == (23, 900)


def test_a_pool_that_nobody_leads_has_no_counts() -> None:
    view = MeshView("ready", pools=(PoolView("main", "hybrid", None),))
    assert "nobody yet" in rendered(view, 100)
    assert "None" not in rendered(view, 100)
    assert view.to_json()["pools"][0]["interrupted"] is None


@pytest.mark.parametrize(
    ("implementation", "logs"), [("vllm", "sage engine logs big"), ("sentence-transformers", "sage logs")]
)
def test_an_engine_of_the_mesh_that_starts_and_starts_is_a_problem(implementation: str, logs: str) -> None:
    loading = replace(ENGINE, name="big", phase="starting", implementation=implementation, reason="loading weights")
    for seconds, well in ((None, True), (LONG_START_SECONDS - 1, True), (LONG_START_SECONDS + 1, False)):
        view = MeshView("ready", processes=(GATEWAY,), engines=(ENGINE, replace(loading, phase_seconds=seconds)))
        assert view.healthy is well
    (problem,) = view.problems
    assert problem == f"engine big has been starting for 901 s (loading weights); `{logs}` shows its last words"


def test_the_hosts_of_a_mesh_of_several_are_shown_with_what_runs_there() -> None:
    here = replace(GATEWAY, host="10.0.0.1")
    there = ProcessView("c-1", "llm-coordinator", "registered", "10.0.0.2", 7, PORTS)
    view = MeshView(
        "ready", processes=(here, there, there), engines=(replace(ENGINE, host="10.0.0.2"),), this_host="10.0.0.1"
    )
    text = rendered(view, 120)
    assert "10.0.0.1 (here)  gateway" in text
    assert "llm-coordinator ×2" in text
    assert [(host.host, host.serving, host.engines_ready) for host in view.hosts] == [
        ("10.0.0.1", 1, 0),
        ("10.0.0.2", 0, 1),
    ]
    assert "c-1 on 10.0.0.2 does not serve; `sage logs llm-coordinator` there" in view.problems
    assert "10.0.0" not in rendered(replace(view, processes=(here,)), 120)
