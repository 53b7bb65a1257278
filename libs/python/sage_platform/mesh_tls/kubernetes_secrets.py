"""The secrets of a mesh as Kubernetes takes them: a Secret for each identity, and one for who may call.

They are made from a folder that ``SecuredFolder`` has filled, which stays with whoever runs the mesh: the authority's
key is in no Secret. The same folder gives the same Secrets, so that applying them again changes nothing.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sage_common.ports import SagePorts
from sage_platform.mesh_tls.nats_configuration import NATS
from sage_platform.mesh_tls.nats_rights import CLIENT, SERVICES
from sage_platform.mesh_tls.private_file import write_private
from sage_platform.mesh_tls.secured_folder import CLUSTER_PASSWORD, KEPT_TOKEN
from sage_platform.nats_cluster import USER

# Names in deploy/kubernetes.
ACCESS = "sage-access"
NATS_HOSTS = tuple(f"nats-{number}.nats" for number in range(3))
_RANDOM_BYTES = 32


def gateway_hosts(namespace: str) -> tuple[str, ...]:
    """Return the names that the gateway has within the cluster."""
    return "gateway", f"gateway.{namespace}", f"gateway.{namespace}.svc", f"gateway.{namespace}.svc.cluster.local"


def tls_name(identity: str) -> str:
    """Return the name of an identity's Secret."""
    return f"sage-tls-{identity}"


def kubernetes_secrets(folder: Path, namespace: str) -> list[dict[str, Any]]:
    """Return the Secrets of the folder's mesh, in the namespace.

    What is random and not there yet is made, and kept in the folder: the token of the mesh, the key of its operator,
    and the password between NATS servers.

    Raises:
        OSError: the folder cannot be read or written.
    """
    found = []
    for identity in (*SERVICES, CLIENT, NATS):
        files = {path.name: path.read_bytes() for path in sorted((folder / identity).iterdir()) if path.is_file()}
        if identity == NATS:
            files.pop(CLUSTER_PASSWORD, None)
            files["routes.conf"] = _routes(_random(folder / NATS / CLUSTER_PASSWORD), NATS_HOSTS)
        found.append(_secret(tls_name(identity), namespace, files))
    key = _random(folder / "operator.key")
    keys = {key: {"tenant": "operators", "operator": True}}
    access = {"mesh-token": _random(folder / KEPT_TOKEN), "operator-key": key, "api-keys": json.dumps(keys)}
    found.append(_secret(ACCESS, namespace, {name: value.encode() for name, value in access.items()}))
    return found


def _routes(password: str, hosts: Sequence[str]) -> bytes:
    """Return what nats-server's ``cluster`` includes."""
    routes = [f"nats-route://{USER}:{password}@{host}:{SagePorts.NATS_CLUSTER}" for host in hosts]
    settings = {"authorization": {"user": USER, "password": password}, "routes": routes}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()).encode()


def _random(file: Path) -> str:
    """Return what the file holds; long and random where it is not there."""
    if not file.is_file():
        write_private(file, secrets.token_urlsafe(_RANDOM_BYTES).encode())
    return file.read_text(encoding="ascii").strip()


def _secret(name: str, namespace: str, data: dict[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "sage"}},
        "type": "Opaque",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
