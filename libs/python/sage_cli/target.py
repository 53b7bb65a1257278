"""Where commands send their requests: to the gateway, or to the services that NATS's registry names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from sage_common import paths
from sage_common.config import read_yaml

if TYPE_CHECKING:
    from sage_client.management.mesh_management import MeshManagement


def client_target(url: str | None) -> str | None:
    """Return the client's target: the flag, what is configured, or the gateway that runs on this machine.

    None leaves the choice to the client's own default.
    """
    if url or "SAGE_CLIENT_TARGET" in os.environ:
        return url
    config_file = paths.config_file()
    section = read_yaml(config_file).get("client") if config_file.exists() else None
    if isinstance(section, dict) and "target" in section:
        return None
    from sage_cli.mesh.inspection import local_state

    state = local_state()
    return state.facts.get("gateway_url") if state else None


@contextlib.asynccontextmanager
async def management() -> AsyncIterator[MeshManagement]:
    """Open the management of the mesh whose registry NATS holds. Raises UnavailableError when NATS does not answer."""
    from sage_cli.mesh.inspection import local_state, nats_settings
    from sage_cli.mesh.registrations import Registrations
    from sage_cli.mesh.token import operator_token
    from sage_client.management.mesh_management import MeshManagement

    registrations = Registrations(nats_settings(local_state()), "sage-operator")
    try:
        await registrations.connection()
        yield MeshManagement(registrations.instances, operator_token())
    finally:
        await registrations.close()
