"""A second mesh on one machine: its ports and folders are others, and the client follows."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sage_cli.app import app
from sage_cli.mesh.environment import chosen_ports, service_environment
from sage_cli.mesh.plan import MeshPlan
from sage_cli.mesh.services import SERVICES, replica_counts
from sage_cli.port_offset import use_port_offset
from sage_client.settings import ClientSettings
from sage_common import paths
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_common.ports import SagePorts, free_port
from sage_common.service_settings import NatsSettings

PLAN = MeshPlan(replica_counts({}))


def ports() -> set[int]:
    every = (chosen_ports(e, service_environment(e, 1, PLAN, "nats://x:1", {}, {})) for e in SERVICES)
    return {port for found in every for port in found.values()}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SAGE_PORT_OFFSET", "SAGE_GATEWAY_PORT", "SAGE_CLIENT_TARGET", "SAGE_NATS_URL"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize("offset", [10, 11, 100, 15_000])
def test_no_port_and_no_folder_of_two_meshes_is_the_same(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, folders = ports(), {paths.state_dir(), paths.data_dir(), paths.log_dir(), paths.mesh_token_file()}
    monkeypatch.setenv("SAGE_PORT_OFFSET", str(offset))
    assert ports() == {port + offset for port in first}
    assert not ports() & first
    assert not folders & {paths.state_dir(), paths.data_dir(), paths.log_dir(), paths.mesh_token_file()}
    assert load(NatsSettings).url == f"nats://127.0.0.1:{4222 + offset}"
    assert load(ClientSettings).target == f"http://127.0.0.1:{8888 + offset}"
    assert SagePorts.GATEWAY_GRPC.here == 50050 + offset


@pytest.mark.parametrize("offset", [-1, 1, 9, 15_001])
def test_an_offset_with_which_ports_would_meet_is_refused(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_PORT_OFFSET", "0")
    with pytest.raises(ConfigurationError, match="choose 0, or 10 to 15000"):
        use_port_offset(offset)


def test_the_clients_target_follows_the_gateways_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sage").mkdir()
    (tmp_path / "sage" / "config.yaml").write_text("gateway: {port: 9000}\n")
    assert load(ClientSettings).target == "http://127.0.0.1:9000"
    monkeypatch.setenv("SAGE_GATEWAY_PORT", "9001")
    assert load(ClientSettings).target == "http://127.0.0.1:9001"
    monkeypatch.setenv("SAGE_GATEWAY_HTTPS", "true")
    assert load(ClientSettings).target == "https://127.0.0.1:9001"


@pytest.mark.parametrize("command", [["status"], ["logs"], ["down"], ["job", "list"], ["job", "results", "j"]])
def test_a_command_says_which_mesh_it_speaks_of_where_that_is_not_the_first(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGE_PORT_OFFSET", "0")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # The logging of this process is the other tests' too.
    monkeypatch.setattr("sage_common.logging.configure_logging", lambda *_, **__: None)
    offset = free_port() % 10_000 + 10
    said = CliRunner().invoke(app, ["--port-offset", str(offset), *command]).stderr
    assert f"(port offset {offset})" in said.replace("\n", " ")


def test_of_the_first_mesh_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert CliRunner().invoke(app, ["down"]).stderr.strip() == "nothing is running"
