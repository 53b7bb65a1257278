"""The mesh's own token: made for each run of the mesh, in a file that only its owner reads.

A mesh of several machines has one that all of them keep: a machine that comes back has to know it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sage_common import paths

TOKEN_BYTES = 32


def make_token() -> Path:
    """Write the token and return the file. NATS asks its clients for it, and the services each other."""
    token = _kept() or secrets.token_urlsafe(TOKEN_BYTES)
    path = paths.mesh_token_file()
    paths.private_dir(path.parent)
    path.unlink(missing_ok=True)
    # Made with its rights: one that is narrowed afterwards could be opened before.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(token)
    return path


def _kept() -> str:
    """Return the token of a mesh of several machines that this one belongs to; empty where there is none."""
    try:
        return (paths.mesh_tls_dir() / "mesh.token").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def token_variables(token_file: Path, *, ours: bool) -> dict[str, str]:
    """Return the variables by which a service finds the token: in a file, which neither ps nor a crash report shows.

    Args:
        ours: whether the NATS server is one that SAGE starts, which asks for it.
    """
    names = ("SAGE_ACCESS_MESH_TOKEN_FILE", *(("SAGE_NATS_TOKEN_FILE",) if ours else ()))
    return dict.fromkeys(names, str(token_file))


def remove_token() -> None:
    """Remove the token of a mesh that runs no more."""
    paths.mesh_token_file().unlink(missing_ok=True)


def operator_token() -> str:
    """Return what this user's commands call the services with; empty for nothing.

    The key that the client has (``SAGE_CLIENT_API_KEY``) comes first; then the mesh token that is configured, and that
    of the mesh that runs on this machine for this user.

    Raises:
        ConfigurationError: settings are wrong, or the token's file cannot be read.
    """
    from sage_client.settings import ClientSettings
    from sage_common.config import load
    from sage_common.service_settings import AccessSettings, mesh_token_here

    key = load(ClientSettings).api_key.get_secret_value()
    return key or load(AccessSettings).token() or mesh_token_here()
