"""What nats-server's configuration says of a secured mesh."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from sage_common.tls_settings import spiffe_id
from sage_platform.mesh_tls.nats_rights import IDENTITIES, permissions

# The server itself, which is no user.
NATS = "nats"
# The users and their rights, beside its certificate.
AUTHORIZATION = "authorization.conf"


def authorization(generations: Mapping[str, int] = MappingProxyType({})) -> dict[str, object]:
    """Return nats-server's ``authorization``: the users, known by the URI in their certificates, and their rights.

    Args:
        generations: how often the certificates of an identity were revoked; those before are no user's.
    """
    users = []
    for identity in IDENTITIES:
        user: dict[str, object] = {"user": spiffe_id(identity, generations.get(identity, 0))}
        rights = permissions(identity)
        if rights is not None:
            user["permissions"] = rights
        users.append(user)
    return {"users": users}


def authorization_file(generations: Mapping[str, int] = MappingProxyType({})) -> bytes:
    """Return what nats-server's configuration includes: JSON is a subset of its language, but for the outer braces."""
    return f"authorization: {json.dumps(authorization(generations), indent=1)}\n".encode()


def nats_tls(folder: Path, *, others: bool = False) -> dict[str, object]:
    """Return nats-server's ``tls``: clients show a certificate of the mesh's authority, which says who they are.

    Args:
        others: whether other machines connect, whose first word may take its time on the way.
    """
    return {
        "cert_file": str(folder / "certificate.pem"),
        "key_file": str(folder / "key.pem"),
        "ca_file": str(folder / "ca.pem"),
        "verify_and_map": True,
        # Clients begin with TLS, so that nobody between can talk them out of it. One that waits for the server's
        # greeting in the clear gets it after this long, with what is asked of it; on a network that loses packets it
        # would break in on those who do not wait.
        "handshake_first": True if others else "100ms",
    }
