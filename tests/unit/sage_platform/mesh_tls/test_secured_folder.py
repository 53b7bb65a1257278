from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path

import pytest

from sage_common.errors import ConfigurationError, NotFoundError
from sage_common.tls_settings import read_generations
from sage_platform import subjects
from sage_platform.mesh_tls.__main__ import main
from sage_platform.mesh_tls.authority import expires_at, hosts_of, uris_of
from sage_platform.mesh_tls.join_token import JoinToken, read_join_token
from sage_platform.mesh_tls.nats_rights import BODIES_STREAM, IDENTITIES, permissions, rights_by_identity
from sage_platform.mesh_tls.secured_folder import DAYS, SecuredFolder

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)


def after(days: float) -> datetime.datetime:
    return NOW + datetime.timedelta(days=days)


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    assert all(state.made for state in SecuredFolder(tmp_path, NOW).secure(["sage.example.com"]))
    before = files(tmp_path)
    assert not any(state.made for state in SecuredFolder(tmp_path, after(1)).secure(["sage.example.com"]))
    assert files(tmp_path) == before


def test_only_their_owner_reads_the_keys(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        SecuredFolder(tmp_path / "tls", NOW).secure()
    finally:
        os.umask(previous)
    keys = list(tmp_path.rglob("*key.pem"))
    assert len(keys) == len(IDENTITIES) + 3  # of the authority, of NATS, and of the front
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_what_ends_within_a_month_is_made_again_and_the_rest_is_kept(tmp_path: Path) -> None:
    SecuredFolder(tmp_path, NOW).secure()
    assert not any(state.made for state in SecuredFolder(tmp_path, after(DAYS - 31)).secure())
    assert all(state.made for state in SecuredFolder(tmp_path, after(DAYS - 29)).secure())


def test_renewing_keeps_the_authority_so_that_what_runs_goes_on_trusting(tmp_path: Path) -> None:
    folder = SecuredFolder(tmp_path, NOW)
    folder.secure()
    authority = (tmp_path / "ca.pem").read_bytes()
    assert all(state.made for state in folder.secure(renew=True))
    assert (tmp_path / "ca.pem").read_bytes() == authority


def test_a_further_host_is_added_to_those_of_the_front(tmp_path: Path) -> None:
    folder = SecuredFolder(tmp_path, NOW)
    folder.secure(["one.example.com"])
    made = [state.name for state in folder.secure(["two.example.com", "10.0.0.7"]) if state.made]
    assert made == ["nats", "front"]  # other servers look at the address of NATS
    hosts = hosts_of((tmp_path / "gateway" / "front.pem").read_bytes())
    assert hosts >= {"localhost", "127.0.0.1", "one.example.com", "two.example.com", "10.0.0.7"}


def test_an_authority_of_another_makes_every_certificate_again(tmp_path: Path) -> None:
    folder = SecuredFolder(tmp_path, NOW)
    folder.secure()
    (tmp_path / "ca.pem").unlink()
    (tmp_path / "authority" / "key.pem").unlink()
    assert all(state.made for state in folder.secure())


@pytest.mark.parametrize("lost", ["ca.pem", "authority/key.pem"])
def test_half_an_authority_is_an_error_and_not_a_new_one(tmp_path: Path, lost: str) -> None:
    SecuredFolder(tmp_path, NOW).secure()
    before = files(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(ConfigurationError, match="is missing, so no certificate can be made that this mesh trusts"):
        SecuredFolder(tmp_path, NOW).secure()
    assert files(tmp_path) == {name: content for name, content in before.items() if name != lost}


def test_a_broken_certificate_is_made_again(tmp_path: Path) -> None:
    folder = SecuredFolder(tmp_path, NOW)
    folder.secure()
    (tmp_path / "scheduler" / "certificate.pem").write_text("garbage")
    assert [state.name for state in folder.secure() if state.made] == ["scheduler"]


@pytest.mark.parametrize("key", ["of another run", "garbage", ""])
def test_a_key_that_is_not_its_certificates_is_made_again_with_it(tmp_path: Path, key: str) -> None:
    SecuredFolder(tmp_path / "other", NOW).secure()
    folder = SecuredFolder(tmp_path / "tls", NOW)
    folder.secure()
    other = (tmp_path / "other" / "scheduler" / "key.pem").read_text()
    (tmp_path / "tls" / "scheduler" / "key.pem").write_text(other if key == "of another run" else key)
    assert [state.name for state in folder.secure() if state.made] == ["scheduler"]
    assert not any(state.made for state in folder.secure())


def test_what_a_link_in_the_folder_leads_to_is_not_given_away(tmp_path: Path) -> None:
    SecuredFolder(tmp_path, NOW).secure()
    # Whoever follows this one fails.
    (tmp_path / "gateway" / "link").symlink_to(tmp_path / "nowhere")
    assert main([str(tmp_path), "--owner", f"{os.getuid()}:{os.getgid()}"]) == 0


def test_what_is_no_host_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'grüße' is no host name or address"):
        SecuredFolder(tmp_path, NOW).secure(["grüße"])


def test_certificates_say_when_they_end(tmp_path: Path) -> None:
    SecuredFolder(tmp_path, NOW).secure(days=10)
    assert expires_at((tmp_path / "gateway" / "front.pem").read_bytes()) == after(10)
    states = SecuredFolder(tmp_path, NOW).states()
    assert {state.name for state in states} == {"nats", "front", *IDENTITIES}
    assert {round(state.days_left(NOW.timestamp())) for state in states} == {10}


def test_no_identity_but_the_operator_may_hear_everything() -> None:
    for identity in IDENTITIES:
        allowed = permissions(identity)
        if identity == "operator":
            assert allowed is None
        else:
            assert allowed is not None
            subscribed = allowed["subscribe"]
            assert isinstance(subscribed, dict)
            assert ">" not in subscribed["allow"]
            assert f"_INBOX_{identity}.>" in subscribed["allow"]


def test_every_bucket_and_stream_of_the_mesh_is_somebodys() -> None:
    named = {value for name, value in vars(subjects).items() if name.startswith("BUCKET_")}
    streams = {value for name, value in vars(subjects).items() if name.endswith("_STREAM")}
    owned = {bucket for rights in rights_by_identity().values() for bucket in rights.owns}
    kept = {stream for rights in rights_by_identity().values() for stream, _ in rights.streams}
    # What jobs keep is of the workers, who may write everything that is not another's.
    workers = {"jobs", "pipelines", "tasks", "task-leases", "checkpoints", "nodes", "answers", "knowledge"}
    assert named - owned == {*workers, subjects.BUCKET_BODIES}
    assert BODIES_STREAM in kept
    assert streams - kept == {"SAGE_JOBS", "SAGE_RESULTS", "SAGE_EVENTS", "SAGE_DLQ"}


def test_what_is_revoked_gets_another_name_and_everybody_is_told(tmp_path: Path) -> None:
    folder = SecuredFolder(tmp_path, NOW)
    folder.secure(["sage.example.com"])
    before = files(tmp_path)
    made = [state.name for state in folder.revoke("gateway") if state.made]
    assert made == ["gateway"]
    assert uris_of((tmp_path / "gateway" / "certificate.pem").read_bytes()) == {"spiffe://sage/gateway/1"}
    assert [read_generations(tmp_path / name / "generations.json") for name in IDENTITIES] == [
        {"gateway": 1} for _ in IDENTITIES
    ]
    rights = (tmp_path / "nats" / "authorization.conf").read_text()
    assert '"spiffe://sage/gateway/1"' in rights
    assert '"spiffe://sage/gateway"' not in rights
    assert files(tmp_path)["gateway/front.pem"] == before["gateway/front.pem"]
    # It stays so, also when all are made again, and can be repeated.
    assert not any(state.made for state in folder.secure())
    folder.secure(renew=True)
    folder.revoke("gateway")
    assert uris_of((tmp_path / "gateway" / "certificate.pem").read_bytes()) == {"spiffe://sage/gateway/2"}


@pytest.mark.parametrize("name", ["nats", "front", "../gateway", "no-such"])
def test_what_is_no_identity_cannot_be_revoked(tmp_path: Path, name: str) -> None:
    SecuredFolder(tmp_path, NOW).secure()
    before = files(tmp_path)
    with pytest.raises(NotFoundError, match="they are gateway, classifier"):
        SecuredFolder(tmp_path, NOW).revoke(name)
    assert files(tmp_path) == before


def test_revocations_that_cannot_be_read_are_an_error_and_not_none(tmp_path: Path) -> None:
    SecuredFolder(tmp_path, NOW).secure()
    (tmp_path / "generations.json").write_text("[")
    with pytest.raises(ConfigurationError, match="does not say whose certificates are revoked"):
        SecuredFolder(tmp_path, NOW).secure()


def test_a_machine_that_joins_later_gets_what_is_not_revoked_and_the_list(tmp_path: Path) -> None:
    folder = SecuredFolder(tmp_path / "here", NOW)
    folder.secure()
    folder.revoke("gateway")
    issued = folder.issued_for(["10.0.0.2"], ["gateway", "nats"])
    assert uris_of(issued["gateway/certificate.pem"].encode()) == {"spiffe://sage/gateway/1"}
    token = read_join_token(JoinToken(issued, "token").encode())
    token.unpack(tmp_path / "there")
    assert read_generations(tmp_path / "there" / "nats" / "generations.json") == {"gateway": 1}


def test_a_machine_that_has_joined_revokes_nothing_and_counts_nothing(tmp_path: Path) -> None:
    first = SecuredFolder(tmp_path / "here", NOW)
    first.secure()
    JoinToken(first.issued_for(["10.0.0.2"], ["gateway"]), first.mesh_token()).unpack(tmp_path / "there")
    second = SecuredFolder(tmp_path / "there", NOW)
    before = files(tmp_path / "there")
    for attempt in (lambda: second.revoke("gateway"), second.secure):
        with pytest.raises(ConfigurationError, match="on the machine that was secured first") as caught:
            attempt()
        assert "sage mesh renew" in caught.value.message
        assert "remove" not in caught.value.message
    assert files(tmp_path / "there") == before


@pytest.mark.parametrize("lost", ["ca.pem", "authority/key.pem"])
def test_without_an_authority_nothing_is_revoked_by_half(tmp_path: Path, lost: str) -> None:
    SecuredFolder(tmp_path, NOW).secure()
    (tmp_path / lost).unlink()
    before = files(tmp_path)
    with pytest.raises(ConfigurationError, match="is missing"):
        SecuredFolder(tmp_path, NOW).revoke("gateway")
    assert files(tmp_path) == before
