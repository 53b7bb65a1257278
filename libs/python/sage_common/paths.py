"""Where files live: the XDG base directories, read at call time so that tests can redirect them.

Source: XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import os
from pathlib import Path

from sage_common.ports import port_offset


def _base(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification says that relative paths are invalid and to be ignored.
    return Path(value) if value.startswith("/") else Path.home() / fallback


def config_file() -> Path:
    """The user's configuration file; it need not exist. ``SAGE_CONFIG_FILE`` overrides it."""
    override = os.environ.get("SAGE_CONFIG_FILE")
    return Path(override) if override else _base("XDG_CONFIG_HOME", ".config") / "sage" / "config.yaml"


def mesh_tls_dir() -> Path:
    """Certificates of this user's meshes: their authority, and a folder for each identity; see `sage mesh secure`."""
    return _base("XDG_CONFIG_HOME", ".config") / "sage" / "tls"


def _mesh() -> str:
    """The folder's name: each mesh of a machine has data and state of its own."""
    offset = port_offset()
    return f"sage-{offset}" if offset else "sage"


def data_dir() -> Path:
    """Data that must survive: JetStream, indexes."""
    return _base("XDG_DATA_HOME", ".local/share") / _mesh()


def state_dir() -> Path:
    """State that is worth keeping between runs: pid files, supervision state."""
    return _base("XDG_STATE_HOME", ".local/state") / _mesh()


def mesh_token_file() -> Path:
    """The token of the mesh that runs on this machine for this user; there while it runs, for its owner to read."""
    return state_dir() / "mesh.token"


def log_dir() -> Path:
    """One log file for each process."""
    return state_dir() / "logs"


def cache_dir() -> Path:
    """What can be made again: exported models, answers."""
    return _base("XDG_CACHE_HOME", ".cache") / "sage"


def runtime_dir() -> Path:
    """Sockets. Below /tmp where the session has none: the path of a socket may have about 100 characters only."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(given) / "sage" if given.startswith("/") else Path(f"/tmp/sage-{os.getuid()}")


def private_dir(path: Path) -> Path:
    """Create ``path`` readable by its owner only and return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
