"""The studio beside a mesh: whether it can run, and a mesh that comes up where it cannot."""

from __future__ import annotations

import importlib.metadata
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sage_cli.app import app
from sage_cli.mesh import bring_up, studio_process
from sage_cli.mesh.plan import MeshPlan
from sage_cli.mesh.studio_process import PORT_VARIABLE, is_installed, port_in_use, studio_port
from sage_common.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(("version", "there"), [("3.17.9", False), ("3.18.0", True), ("3.18rc1", True), ("4.0", True)])
def test_an_older_nicegui_is_not_the_extra(monkeypatch: pytest.MonkeyPatch, version: str, there: bool) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    assert is_installed() is there


@pytest.mark.parametrize("port", ["70000", "-1", "a"])
def test_a_port_that_is_none_is_an_error_that_names_it(port: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SAGE_STUDIO_PORT is '{port}'; give a port up to 65535"):
        studio_port({PORT_VARIABLE: port})


def test_a_port_that_another_program_has_is_in_use(taken: int) -> None:
    assert port_in_use({PORT_VARIABLE: str(taken)}) == taken
    assert port_in_use({PORT_VARIABLE: "0"}) is None


@pytest.mark.parametrize(("flags", "studio"), [([], False), (["--studio"], True), (["--no-studio"], False)])
def test_a_mesh_comes_up_without_a_studio_that_nobody_asked_for_and_that_has_no_port(
    monkeypatch: pytest.MonkeyPatch, taken: int, flags: list[str], studio: bool
) -> None:
    plans: list[MeshPlan] = []
    monkeypatch.setenv(PORT_VARIABLE, str(taken))
    monkeypatch.setattr(studio_process, "is_installed", lambda: True)
    monkeypatch.setattr(bring_up, "foreground", lambda plan, **_: plans.append(plan))
    result = CliRunner().invoke(app, ["up", *flags])
    assert [plan.studio for plan in plans] == [studio]
    assert (f"no studio: port {taken} is in use" in result.output) is (flags == [])
