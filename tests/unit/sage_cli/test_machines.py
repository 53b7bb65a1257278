"""What a machine needs to be one of several, and what it says where that is missing."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sage_cli.app import app
from sage_cli.mesh import bring_up, join_tokens
from sage_cli.mesh.join_tokens import make_join_token
from sage_cli.mesh.machines import join_with, own_address, prepare_machine
from sage_cli.mesh.plan import PLAN_FACT, MeshPlan, make_plan
from sage_cli.mesh.security import secured_folder
from sage_cli.mesh.specs import choose_nats
from sage_cli.mesh.token import make_token
from sage_common import paths
from sage_common.errors import ConfigurationError, ConflictError, NotFoundError, UnavailableError
from sage_common.tls_settings import own_servers
from sage_platform.mesh_tls.authority import hosts_of
from sage_platform.mesh_tls.join_token import JoinToken
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.supervision.process_status import ProcessIdentity
from sage_platform.supervision.state_file import SupervisorPhase, SupervisorState

NOW = datetime.datetime.now(datetime.timezone.utc)
CLUSTER = "10.0.0.1,10.0.0.2,10.0.0.3"
URL = "nats://10.0.0.1:4222"


def plan(**flags: object) -> MeshPlan:
    given = {"llm": None, "embed": None, "replicas": [], "nats_url": None, "timeout_seconds": None, **flags}
    return make_plan(**given)  # type: ignore[arg-type]


def token_file(tmp_path: Path, *services: str, cluster: str = "") -> Path:
    """A token of another machine's mesh."""
    first = SecuredFolder(tmp_path / "first", NOW)
    first.secure()
    token = JoinToken(first.issued_for(["10.0.0.2"], services), first.mesh_token(), cluster)
    file = tmp_path / "join.token"
    file.write_text(token.encode())
    return file


def test_a_mesh_of_several_machines_has_to_be_secured() -> None:
    with pytest.raises(ConfigurationError, match="`sage mesh secure` first"):
        prepare_machine(plan(advertise="10.0.0.1"), secured_folder())


def test_the_first_machine_keeps_its_token_and_knows_its_servers() -> None:
    SecuredFolder(paths.mesh_tls_dir(), NOW).secure()
    prepare_machine(plan(advertise="10.0.0.1", nats_servers=CLUSTER), secured_folder())
    assert own_servers() == {"nats://127.0.0.1:4222", *(f"nats://{address}:4222" for address in CLUSTER.split(","))}
    assert make_token().read_text() == make_token().read_text()
    with pytest.raises(ConfigurationError, match="not among the machines of --nats-cluster"):
        prepare_machine(plan(advertise="10.0.0.9", nats_servers=CLUSTER), secured_folder())


def test_a_machine_joins_with_the_services_of_its_token_and_no_others(tmp_path: Path) -> None:
    file = token_file(tmp_path, "llm-coordinator")
    assert join_with(str(file)) == ""
    joining = plan(advertise="10.0.0.2", join=URL, services=["llm-coordinator"])
    assert prepare_machine(joining, secured_folder()) == paths.mesh_tls_dir()
    assert own_servers() == {URL}
    assert make_token().read_text() == (tmp_path / "first" / "mesh.token").read_text()
    with pytest.raises(ConfigurationError, match="no certificate for gateway"):
        prepare_machine(plan(advertise="10.0.0.2", join=URL, services=["gateway"]), secured_folder())


def test_a_machine_that_has_joined_needs_no_token_again(tmp_path: Path) -> None:
    assert join_with(str(token_file(tmp_path, "nats", "llm-coordinator", cluster=CLUSTER))) == CLUSTER
    assert join_with("") == CLUSTER


def test_a_machine_with_a_mesh_of_its_own_joins_no_other(tmp_path: Path) -> None:
    SecuredFolder(paths.mesh_tls_dir(), NOW).secure()
    with pytest.raises(ConflictError, match="sage mesh secure --remove"):
        join_with(str(token_file(tmp_path, "gateway")))


def test_nobody_joins_where_nothing_runs() -> None:
    with pytest.raises(ConfigurationError, match="no mesh runs here"):
        make_join_token([], None, 365)


def test_this_machines_address_is_none_that_only_it_reaches() -> None:
    with pytest.raises(ConfigurationError, match="no address that other machines reach"):
        own_address("nats://127.0.0.1:4222")


@pytest.mark.parametrize("url", ["nats://10.0.0.1:99999", "nats://10.0.0.1:abc", "10.0.0.1:4222", "nats://a:1,b:2"])
def test_what_is_no_url_is_said_to_be_none_before_an_address_is_derived_from_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a NATS URL"):
        own_address(url)


def test_a_name_that_no_resolver_takes_is_an_error_that_names_it() -> None:
    with pytest.raises(UnavailableError, match=r"no way leads from here to a\.\.b"):
        own_address("nats://a..b:4222")


def test_a_mesh_of_several_machines_starts_no_empty_server_beside_the_one_that_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAGE_NATS_URL", "nats://someone:secret@nats.example:4222")
    with pytest.raises(ConfigurationError, match=r"nats\.example.*unset SAGE_NATS_URL") as caught:
        choose_nats(plan(advertise="10.0.0.1"), tmp_path / "token")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("url", ["nats://localhost:4222", "nats://10.0.0.1:4222", "nats://10.0.0.2:4222"])
def test_a_mesh_of_several_machines_may_be_what_the_settings_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    monkeypatch.setenv("SAGE_NATS_URL", url)
    token = tmp_path / "token"
    token.write_text("t")
    assert choose_nats(plan(advertise="10.0.0.1", nats_servers=CLUSTER), token).server is not None


def running(monkeypatch: pytest.MonkeyPatch, own: MeshPlan) -> None:
    """Have this machine be the first of a mesh that runs."""
    SecuredFolder(paths.mesh_tls_dir(), NOW).secure([own.advertise])
    state = SupervisorState(
        ProcessIdentity.of(os.getpid()), SupervisorPhase.READY, 0.0, facts={PLAN_FACT: own.to_json()}
    )
    monkeypatch.setattr(join_tokens, "local_state", lambda: state)


def test_only_a_machine_of_the_cluster_gets_what_a_nats_server_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, plan(advertise="10.0.0.1", nats_servers=CLUSTER))
    second = make_join_token(["10.0.0.2"], ["llm-coordinator"], 365).token
    assert "nats/cluster-password" in second.files
    hosts = hosts_of(second.files["nats/certificate.pem"].encode())
    assert "10.0.0.2" in hosts
    assert hosts.isdisjoint({"10.0.0.1", "10.0.0.3"})
    for addresses in (["10.0.0.9"], []):
        other = make_join_token(addresses, ["llm-coordinator"], 365).token
        assert not any(name.startswith("nats/") for name in other.files)
        assert other.nats_servers == CLUSTER


def test_a_machine_of_the_cluster_without_its_certificate_is_told_which_token_it_needs(tmp_path: Path) -> None:
    join_with(str(token_file(tmp_path, "llm-coordinator", cluster=CLUSTER)))
    joining = plan(advertise="10.0.0.2", join=URL, services=["llm-coordinator"], nats_servers=CLUSTER)
    with pytest.raises(ConfigurationError, match="sage mesh token --host ADDRESS"):
        prepare_machine(joining, secured_folder())


def test_the_token_is_read_also_where_the_cluster_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought_up: list[MeshPlan] = []
    monkeypatch.setattr(bring_up, "foreground", lambda plan, as_json: brought_up.append(plan))
    token = ["--token", str(token_file(tmp_path, "nats", "llm-coordinator", cluster=CLUSTER))]
    joining = ["up", "--no-studio", "--join", URL, "--advertise", "10.0.0.2", *token, "--nats-cluster"]
    done = CliRunner().invoke(app, [*joining, "10.0.0.3,10.0.0.2,10.0.0.1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [one.nats_servers for one in brought_up] == [CLUSTER]
    assert secured_folder() is not None
    other = CliRunner().invoke(app, [*joining, "10.0.0.2,10.0.0.3,10.0.0.4"])
    assert isinstance(other.exception, ConfigurationError)
    assert "leave the flag out" in str(other.exception)


def test_the_secrets_that_all_machines_know_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = CliRunner().invoke(app, ["mesh", "rotate"])
    assert isinstance(alone.exception, NotFoundError)
    running(monkeypatch, plan(advertise="10.0.0.1", nats_servers=CLUSTER))
    before = make_join_token(["10.0.0.2"], [], 365).token
    done = CliRunner().invoke(app, ["mesh", "rotate"], catch_exceptions=False)
    after = make_join_token(["10.0.0.2"], [], 365).token
    password = "nats/cluster-password"
    assert after.files[password] != before.files[password]
    assert after.mesh_token != before.mesh_token
    assert "on every machine" in done.output
    assert after.mesh_token not in done.output


def test_a_machine_that_has_joined_rotates_nothing(tmp_path: Path) -> None:
    join_with(str(token_file(tmp_path, "nats", cluster=CLUSTER)))
    before = make_token().read_text()
    refused = CliRunner().invoke(app, ["mesh", "rotate"])
    assert isinstance(refused.exception, ConfigurationError)
    assert make_token().read_text() == before
