"""Where the client commands send their requests."""

from __future__ import annotations

import os

from sage_common import paths
from sage_common.config import read_yaml


def client_target(url: str | None) -> str | None:
    """Return the client's target: the flag, else what is configured, else the gateway that runs on this machine.

    None leaves the choice to the client's own default.
    """
    if url or "SAGE_CLIENT_TARGET" in os.environ:
        return url
    config_file = paths.config_file()
    section = read_yaml(config_file).get("client") if config_file.exists() else None
    if isinstance(section, dict) and "target" in section:
        return None
    from sage_cli.mesh.look import local_state

    state = local_state()
    return state.facts.get("gateway_url") if state else None
