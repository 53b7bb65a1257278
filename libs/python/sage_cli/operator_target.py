"""The mesh that operators' commands act on: the one whose registry NATS holds."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sage_cli.mesh.look import local_state, nats_settings
from sage_cli.mesh.registrations import Registrations
from sage_client.management.mesh_management import MeshManagement


@contextlib.asynccontextmanager
async def management() -> AsyncIterator[MeshManagement]:
    """Open the mesh's management. Raises UnavailableError when NATS does not answer."""
    registrations = Registrations(nats_settings(local_state()), "sage-operator")
    try:
        await registrations.connection()
        yield MeshManagement(registrations.instances)
    finally:
        await registrations.close()
