from __future__ import annotations

import datetime
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.aio.client import Client

from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.nats_cluster import GIVEN_SERVERS, NatsCluster, copies_on
from sage_platform.nats_server import NatsServer, NatsServerOptions

NOW = datetime.datetime.now(datetime.timezone.utc)


def test_the_server_takes_the_configuration_of_a_cluster(tmp_path: Path) -> None:
    SecuredFolder(tmp_path / "tls", NOW).secure(["10.0.0.1"])
    cluster = NatsCluster("10.0.0.1", ["10.0.0.2", "10.0.0.3"], 6222, 4222, "it's: a/secret")
    folder = tmp_path / "tls" / "nats"
    options = NatsServerOptions(tmp_path / "nats", tls_folder=folder, host="0.0.0.0", cluster=cluster)
    program, *arguments = NatsServer(options).prepare()
    done = subprocess.run([program, "-t", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_a_servers_users_are_those_of_its_certificates_folder_at_each_start(tmp_path: Path) -> None:
    folder = SecuredFolder(tmp_path / "tls", NOW)
    folder.secure()
    options = NatsServerOptions(tmp_path / "nats", tls_folder=tmp_path / "tls" / "nats")
    # As on a machine that has joined, or that an earlier version has left its own file on.
    (tmp_path / "tls" / "nats" / "authorization.conf").unlink()
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "authorization.conf").write_text("of an earlier version")
    NatsServer(options).prepare()
    assert '"spiffe://sage/gateway"' in (tmp_path / "nats" / "authorization.conf").read_text()
    # What is copied there by hand is what a running server reads again, and does not outlast what is revoked later.
    (tmp_path / "tls" / "nats" / "authorization.conf").write_text("by hand")
    assert (tmp_path / "nats" / "authorization.conf").read_text() == "by hand"
    (tmp_path / "tls" / "nats" / "generations.json").write_text('{"gateway": 1}')
    NatsServer(options).prepare()
    assert '"spiffe://sage/gateway/1"' in (tmp_path / "nats" / "authorization.conf").read_text()


def test_the_password_between_servers_is_in_no_text_of_theirs() -> None:
    assert "secret" not in repr(NatsCluster("a", ["b", "c"], 1, 2, "secret"))


@pytest.mark.parametrize(("given", "copies"), [(None, 1), (1, 1), (2, 1), (3, 3), (5, 3)])
def test_a_stream_has_three_copies_where_there_are_as_many_servers(given: int | None, copies: int) -> None:
    options: dict[str, Any] = {} if given is None else {GIVEN_SERVERS: given}
    assert copies_on(cast(Client, SimpleNamespace(options=options))) == copies
