"""``sage mesh secure`` and ``revoke``, as a person runs them."""

from __future__ import annotations

import base64
import datetime
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sage_cli.app import app
from sage_cli.mesh.plan import PLAN_FACT, MeshPlan
from sage_cli.mesh.security import TLS_FACT, certificate_warnings, has_joined, own_certificates, revocation_steps
from sage_common import paths
from sage_common.errors import ConfigurationError, ConflictError, NotFoundError
from sage_common.tls_settings import own_tls
from sage_platform.mesh_tls.authority import hosts_of
from sage_platform.mesh_tls.join_token import JoinToken, read_join_token
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.supervision.process_status import ProcessIdentity
from sage_platform.supervision.state_file import SupervisorPhase, SupervisorState

DAY = 86_400.0
NOW = datetime.datetime.now(datetime.timezone.utc)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["mesh", "secure", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_says_what_it_made_and_what_it_kept() -> None:
    first = json.loads(run("--host", "sage.example.com", "--json"))
    assert first["folder"] == str(paths.mesh_tls_dir())
    assert first["made"] == [one["name"] for one in first["certificates"]]
    assert json.loads(run("--json"))["made"] == []
    assert "kept" in run()
    assert json.loads(run("--renew", "--json"))["made"] == first["made"]


def test_a_certificate_that_ends_within_a_month_is_named_before_it_does() -> None:
    run()
    (gateway,) = (one for one in json.loads(run("--json"))["certificates"] if one["name"] == "gateway")
    ends = gateway["expires_unix_seconds"]
    made = own_certificates()
    assert certificate_warnings(made, ends - 31 * DAY) == ()
    assert any(
        warning == "the certificate of gateway ends in 10 days; `sage mesh secure --renew` makes another"
        for warning in certificate_warnings(made, ends - 10 * DAY)
    )
    assert any("gateway ended 2 days ago" in warning for warning in certificate_warnings(made, ends + 2 * DAY))


def test_removing_opens_the_next_mesh() -> None:
    run()
    assert own_tls() is not None
    assert json.loads(run("--remove", "--json"))["removed"] is True
    assert own_tls() is None
    assert json.loads(run("--remove", "--json"))["removed"] is False


def test_no_key_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shown = run() + run("--renew") + run("--json") + "".join(capfd.readouterr())
    assert "PRIVATE KEY" not in shown


def revoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["mesh", "revoke", *arguments])


def test_a_certificate_is_revoked_by_its_identity() -> None:
    run()
    before = (paths.mesh_tls_dir() / "gateway" / "certificate.pem").read_bytes()
    done = revoke("gateway", "--json")
    told = json.loads(done.stdout)
    assert (told["revoked"], told["reloaded"]) == ("gateway", False)
    assert [one["name"] for one in told["certificates"] if one["made"]] == ["gateway"]
    assert (paths.mesh_tls_dir() / "gateway" / "certificate.pem").read_bytes() != before
    shown = revoke("gateway")
    assert "a new one is in" in shown.output
    assert "SIGHUP" in shown.output
    assert "PRIVATE KEY" not in shown.output


def test_revoking_names_the_machines_that_do_not_know_of_it() -> None:
    run()
    plan = MeshPlan({}, advertise="10.0.0.1", nats_servers="10.0.0.1,10.0.0.2,10.0.0.3")
    state = SupervisorState(
        ProcessIdentity.of(os.getpid()), SupervisorPhase.READY, 0.0, facts={PLAN_FACT: plan.to_json(), TLS_FACT: "x"}
    )
    # Also where the server here has read it.
    (step,) = revocation_steps(state, reloaded=True)
    assert "10.0.0.2, 10.0.0.3" in step
    assert "10.0.0.1," not in step
    assert "sage mesh renew" in step
    alone = replace(state, facts={**state.facts, PLAN_FACT: replace(plan, advertise="", nats_servers="").to_json()})
    assert revocation_steps(alone, reloaded=True) == ()
    # A mesh of several machines that does not run now is still one.
    SecuredFolder(paths.mesh_tls_dir(), NOW).mesh_token()
    assert "sage mesh renew" in revoke("gateway").output
    assert any("sage mesh renew" in step for step in json.loads(revoke("gateway", "--json").stdout)["steps"])


def join_as_another_machine(first: SecuredFolder, *services: str) -> str:
    return JoinToken(first.issued_for(["10.0.0.2"], services), first.mesh_token()).encode()


def renew(token: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["mesh", "renew", "-", *arguments], input=token)


def test_a_machine_that_has_joined_takes_up_a_newer_token(tmp_path: Path) -> None:
    first = SecuredFolder(tmp_path / "first", NOW)
    first.secure()
    early = renew(join_as_another_machine(first, "gateway"))
    assert isinstance(early.exception, ConflictError)
    assert "sage up --join URL --token FILE" in str(early.exception)
    read_join_token(join_as_another_machine(first, "gateway", "scheduler")).unpack(paths.mesh_tls_dir())
    first.revoke("gateway")
    done = json.loads(renew(join_as_another_machine(first, "gateway"), "--json").stdout)
    assert done["renewed"] == ["front", "gateway", "operator"]
    assert (done["kept"], done["reloaded"]) == (["scheduler"], False)
    shown = renew(join_as_another_machine(first, "gateway")).output
    assert "none for scheduler" in shown
    assert "PRIVATE KEY" not in shown


def test_a_machine_that_has_joined_is_sent_to_the_one_that_makes_certificates(tmp_path: Path) -> None:
    first = SecuredFolder(tmp_path / "first", NOW)
    first.secure()
    read_join_token(join_as_another_machine(first, "gateway")).unpack(paths.mesh_tls_dir())
    assert has_joined()
    made = own_certificates()
    for warning in certificate_warnings(made, made[0].expires_unix_seconds - DAY, joined=True):
        assert "sage mesh renew FILE" in warning
        assert "--renew" not in warning
    refused = CliRunner().invoke(app, ["mesh", "secure", "--renew"])
    assert isinstance(refused.exception, ConfigurationError)
    assert "sage mesh renew FILE" in str(refused.exception)


def test_what_cannot_be_revoked_is_said_and_what_can() -> None:
    unsecured = revoke("gateway")
    assert isinstance(unsecured.exception, NotFoundError)
    assert "sage mesh secure" in str(unsecured.exception)
    run()
    unknown = revoke("nats")
    assert isinstance(unknown.exception, NotFoundError)
    assert "they are gateway, classifier" in str(unknown.exception)


def test_the_secrets_of_a_cluster_are_printed_and_kept(tmp_path: Path) -> None:
    def secrets() -> dict[str, dict[str, str]]:
        arguments = ["mesh", "secrets", str(tmp_path / "kept"), "--namespace", "mine", "--host", "sage.example.com"]
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        items = json.loads(done.stdout)["items"]
        assert {item["metadata"]["namespace"] for item in items} == {"mine"}
        return {item["metadata"]["name"]: item["data"] for item in items}

    first = secrets()
    assert secrets() == first
    # Servers of a cluster look at each other's names, and clients at the gateway's.
    servers = hosts_of(base64.b64decode(first["sage-tls-nats"]["certificate.pem"]))
    assert {"nats-0.nats", "nats-1.nats", "nats-2.nats"} <= servers
    front = hosts_of(base64.b64decode(first["sage-tls-gateway"]["front.pem"]))
    assert {"gateway.mine.svc", "sage.example.com"} <= front
    # It is another mesh than that of this machine.
    assert not paths.mesh_tls_dir().exists()
