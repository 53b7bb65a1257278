"""The secrets of a mesh in Kubernetes."""

from __future__ import annotations

import base64
import datetime
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from sage_common.service_settings import AccessSettings, known_api_keys
from sage_platform.mesh_tls.kubernetes_secrets import NATS_HOSTS, gateway_hosts, kubernetes_secrets
from sage_platform.mesh_tls.nats_rights import SERVICES
from sage_platform.mesh_tls.secured_folder import SecuredFolder

NOW = datetime.datetime(2026, 12, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SecuredFolder(tmp_path, NOW).secure(gateway_hosts("sage"))
    return tmp_path


def by_name(found: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    return {
        one["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
        for one in found
    }


def test_each_identity_has_a_secret_with_what_its_process_needs(folder: Path) -> None:
    found = by_name(kubernetes_secrets(folder, "sage"))
    assert set(found) == {"sage-access", *(f"sage-tls-{name}" for name in (*SERVICES, "client", "nats"))}
    for service in SERVICES:
        assert {"ca.pem", "certificate.pem", "key.pem", "identity"} <= found[f"sage-tls-{service}"].keys()
        assert found[f"sage-tls-{service}"]["identity"] == service
    assert {"front.pem", "front-key.pem"} <= found["sage-tls-gateway"].keys()


def test_the_authoritys_key_is_in_none(folder: Path) -> None:
    kubernetes_secrets(folder, "sage")
    key = (folder / "authority" / "key.pem").read_text()
    assert not [data for data in by_name(kubernetes_secrets(folder, "sage")).values() if key in data.values()]


def test_they_are_the_same_each_time_in_whatever_namespace(folder: Path) -> None:
    first = kubernetes_secrets(folder, "sage")
    assert kubernetes_secrets(folder, "sage") == first
    other = kubernetes_secrets(folder, "another")
    assert {one["metadata"]["namespace"] for one in other} == {"another"}
    assert [one["data"] for one in other] == [one["data"] for one in first]


def test_the_operators_key_is_one_that_services_take(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = by_name(kubernetes_secrets(folder, "sage"))["sage-access"]
    settings = AccessSettings(api_keys=json.loads(access["api-keys"]), mesh_token=access["mesh-token"])  # type: ignore[arg-type]
    caller = known_api_keys(settings).caller(f"Bearer {access['operator-key']}")
    assert caller.tenant == "operators"
    assert caller.operator


def test_what_is_random_is_for_its_owner_to_read(folder: Path) -> None:
    kubernetes_secrets(folder, "sage")
    for name in ("operator.key", "mesh.token", "nats/cluster-password"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_the_routes_between_nats_servers_have_a_password_that_no_service_sees(folder: Path) -> None:
    found = by_name(kubernetes_secrets(folder, "sage"))
    password = (folder / "nats" / "cluster-password").read_text()
    routes = found["sage-tls-nats"].pop("routes.conf")
    assert all(f"nats-route://route:{password}@{host}:6222" in routes for host in NATS_HOSTS)
    assert not [data for data in found.values() if any(password in value for value in data.values())]
