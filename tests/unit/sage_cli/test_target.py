"""Where a command's requests go, and who is given the mesh's token."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sage_cli.mesh.token import make_token
from sage_cli.target import Target, client_target
from sage_common import paths
from sage_platform.supervision.process_status import ProcessIdentity
from sage_platform.supervision.state_file import StateWriter, SupervisorPhase, SupervisorState

GATEWAY = "http://127.0.0.1:19000"


@pytest.fixture
def own_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A mesh that this process supervises, as its state says; its token."""
    for variable in ("SAGE_CLIENT_TARGET", "SAGE_CLIENT_API_KEY", "SAGE_PORT_OFFSET", "SAGE_ACCESS_MESH_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    for kind in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    token = make_token()
    supervisor = ProcessIdentity.of(os.getpid())
    state = SupervisorState(supervisor, SupervisorPhase.READY, 0.0, facts={"gateway_url": GATEWAY})
    StateWriter(paths.state_dir()).write(state)
    return token.read_text(encoding="utf-8")


def test_the_gateway_of_this_users_own_mesh_is_asked_with_the_meshs_token(own_mesh: str) -> None:
    assert client_target(None) == Target(GATEWAY, own_mesh)


def test_a_key_that_is_set_goes_before_the_token(own_mesh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_CLIENT_API_KEY", "mine")
    assert client_target(None) == Target(GATEWAY, "mine")


def test_the_token_is_for_no_other_server(own_mesh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_target("http://elsewhere:8888") == Target("http://elsewhere:8888", None)
    monkeypatch.setenv("SAGE_CLIENT_TARGET", "http://elsewhere:8888")
    assert client_target(None) == Target(None, None)
