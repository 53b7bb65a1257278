from __future__ import annotations

import base64
import datetime
import stat
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from sage_common.errors import ConfigurationError, ConflictError
from sage_common.tls_settings import read_generations
from sage_platform.mesh_tls.authority import hosts_of, is_key_of, is_signed_by
from sage_platform.mesh_tls.join_token import PREFIX, JoinToken, read_join_token
from sage_platform.mesh_tls.secured_folder import SecuredFolder

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
SERVICES = ("gateway", "llm-coordinator")


def first_machine(path: Path) -> SecuredFolder:
    folder = SecuredFolder(path, NOW)
    folder.secure()
    return folder


def token_of(folder: SecuredFolder, *services: str, hosts: tuple[str, ...] = ("10.0.0.2",)) -> JoinToken:
    return JoinToken(folder.issued_for(hosts, services or SERVICES), folder.mesh_token(), "10.0.0.1,10.0.0.2,10.0.0.3")


def test_what_is_unpacked_is_what_the_first_machine_signed_with_keys_of_its_own(tmp_path: Path) -> None:
    token = token_of(first_machine(tmp_path / "first"), "nats", *SERVICES)
    read = read_join_token(f"\n{token.encode()}\n")
    assert read == token
    assert read.services == ["gateway", "llm-coordinator", "operator"]
    second = tmp_path / "second"
    read.unpack(second)
    authority = (tmp_path / "first" / "ca.pem").read_bytes()
    for name in ("nats", "operator", *SERVICES):
        certificate = (second / name / "certificate.pem").read_bytes()
        assert is_signed_by(certificate, authority)
        assert is_key_of((second / name / "key.pem").read_bytes(), certificate)
        assert certificate != (tmp_path / "first" / name / "certificate.pem").read_bytes()
        assert (second / name / "identity").read_text() == name
    assert "10.0.0.2" in hosts_of((second / "nats" / "certificate.pem").read_bytes())
    assert "10.0.0.2" in hosts_of((second / "gateway" / "front.pem").read_bytes())
    for secret in ("mesh.token", "nats/cluster-password"):
        assert (second / secret).read_text() == (tmp_path / "first" / secret).read_text()
    assert not (second / "authority").exists()
    files = [file for file in second.rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_machine_gets_no_identity_that_it_does_not_run(tmp_path: Path) -> None:
    token = token_of(first_machine(tmp_path), "embed-executor")
    assert token.services == ["embed-executor", "operator"]
    assert not any(name.startswith(("nats/", "gateway/", "authority")) for name in token.files)


def test_a_token_is_taken_again_but_not_by_a_machine_of_another_mesh(tmp_path: Path) -> None:
    token = token_of(first_machine(tmp_path / "first"))
    token.unpack(tmp_path / "second")
    token_of(first_machine(tmp_path / "first")).unpack(tmp_path / "second")
    other = token_of(first_machine(tmp_path / "other"))
    with pytest.raises(ConflictError, match="another mesh"):
        other.unpack(tmp_path / "second")
    with pytest.raises(ConflictError, match="mesh of its own"):
        other.unpack(tmp_path / "first")


def test_only_the_machine_with_the_authority_lets_others_join(tmp_path: Path) -> None:
    token_of(first_machine(tmp_path / "first")).unpack(tmp_path / "second")
    with pytest.raises(ConfigurationError, match="on the machine that was secured first"):
        SecuredFolder(tmp_path / "second", NOW).issued_for((), SERVICES)


@pytest.mark.parametrize("spoil", ["cut", "another's", "empty", "changed", "huge"])
def test_what_is_no_token_is_refused_by_its_fault(tmp_path: Path, spoil: str) -> None:
    whole = token_of(first_machine(tmp_path)).encode()
    text = {
        "cut": whole[:-200],
        "another's": "sk-1234",
        "empty": "",
        "changed": whole[:2000] + "AAAA" + whole[2004:],
        "huge": PREFIX + "A" * 2_000_000,
    }[spoil]
    with pytest.raises(ConfigurationError, match="join token"):
        read_join_token(text)


@pytest.mark.parametrize("name", ["../x.pem", "gateway/../../x", "/etc/passwd", "authority/key.pem", "gateway/other"])
def test_a_token_writes_nowhere_but_where_certificates_are(tmp_path: Path, name: str) -> None:
    token = token_of(first_machine(tmp_path))
    forged = replace(token, files={**token.files, name: "x"})
    with pytest.raises(ConfigurationError, match="it names the file"):
        read_join_token(forged.encode())


@pytest.mark.parametrize(
    "files", ["text", ["ca.pem"], None, {"ca.pem": 1}, {"ca.pem": "", "nats/generations.json": "[1]"}]
)
def test_a_token_of_another_shape_is_refused_by_its_fault(files: object) -> None:
    forged = JoinToken(files, "token")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="join token") as caught:
        read_join_token(forged.encode())
    assert caught.value.code == "bad_join_token"


def test_a_token_nested_without_end_is_refused() -> None:
    packed = base64.urlsafe_b64encode(zlib.compress(b"[" * 1_000_000)).decode()
    with pytest.raises(ConfigurationError, match="join token"):
        read_join_token(PREFIX + packed)


def test_a_machine_is_told_by_a_newer_token_what_was_revoked(tmp_path: Path) -> None:
    first, second = first_machine(tmp_path / "first"), tmp_path / "second"
    old = token_of(first, "nats", *SERVICES)
    old.unpack(second)
    first.revoke("llm-coordinator")
    first.revoke("client")
    # Of one service only; the processes of the others refuse what was revoked, too, and so does NATS.
    token_of(first, "llm-coordinator").unpack(second)
    for name in ("", "nats", "operator", *SERVICES):
        assert read_generations(second / name / "generations.json") == {"llm-coordinator": 1, "client": 1}
    users = (second / "nats" / "authorization.conf").read_text()
    assert users == (tmp_path / "first" / "nats" / "authorization.conf").read_text()
    with pytest.raises(ConflictError, match="made before the certificates of llm-coordinator were revoked"):
        old.unpack(second)
    # What it holds no certificate of is no reason to refuse it, and stays revoked.
    first_again = replace(old, files={name: text for name, text in old.files.items() if "coordinator" not in name})
    first_again.unpack(second)
    assert read_generations(second / "nats" / "generations.json") == {"llm-coordinator": 1, "client": 1}
    assert (second / "nats" / "authorization.conf").read_text() == users
