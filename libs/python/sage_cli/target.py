"""Where commands send their requests: to the gateway, or to the services that NATS's registry names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from sage_cli.consoles import notes
from sage_common import paths
from sage_common.config import read_yaml
from sage_common.ports import port_offset

if TYPE_CHECKING:
    from sage_client.management.api_keys import KeyManagement
    from sage_client.management.mesh_management import MeshManagement
    from sage_client.management.operator_records import OperatorRecords
    from sage_client.management.service_calls import ListInstances
    from sage_client.management.tenants import TenantManagement
    from sage_client.management.traces import TraceManagement
    from sage_client.wait_notice import OnWait
    from sage_common.model_routes import ModelRoute


class Target(NamedTuple):
    """Where a command's requests go, and with which key; None leaves either to the client's settings."""

    url: str | None
    api_key: str | None = None


def client_target(url: str | None) -> Target:
    """Return the client's target: the flag, what is configured, or the gateway that runs on this machine.

    The gateway of this user's own mesh gets the mesh token where no key is set. Says on stderr which mesh it is where
    that is not this machine's first one.
    """
    if url:
        return Target(url)
    if given := os.environ.get("SAGE_CLIENT_TARGET"):
        _say_mesh(given, "SAGE_CLIENT_TARGET")
        return Target(None)
    config_file = paths.config_file()
    section = read_yaml(config_file).get("client") if config_file.exists() else None
    if isinstance(section, dict) and "target" in section:
        _say_mesh(str(section["target"]), f"client.target in {config_file}")
        return Target(None)
    from sage_cli.mesh.running_supervisor import local_state
    from sage_cli.mesh.token import operator_token
    from sage_client.settings import own_gateway

    state = local_state()
    own = state.facts.get("gateway_url") if state else None
    target = own or own_gateway()
    if port_offset():
        _say_mesh(target, f"port offset {port_offset()}")
    # The token goes to no server but the one that this user's supervisor has started.
    return Target(target, operator_token() if own else None)


class Mesh(NamedTuple):
    """What the verbs of operators need: the registry, the token to call services with, and who is told of waiting."""

    list_instances: ListInstances
    token: str
    on_wait: OnWait


@contextlib.asynccontextmanager
async def management() -> AsyncIterator[MeshManagement]:
    """Open the management of the mesh whose registry NATS holds; see ``open_mesh``."""
    from sage_client.management.mesh_management import MeshManagement

    async with open_mesh() as mesh:
        yield MeshManagement(*mesh)


@contextlib.asynccontextmanager
async def key_management() -> AsyncIterator[KeyManagement]:
    """Open the API keys of the mesh whose registry NATS holds; see ``open_mesh``."""
    from sage_client.management.api_keys import KeyManagement

    async with open_mesh() as mesh:
        yield KeyManagement(*mesh)


@contextlib.asynccontextmanager
async def trace_management() -> AsyncIterator[TraceManagement]:
    """Open the traces of the mesh whose registry NATS holds; see ``open_mesh``."""
    from sage_client.management.traces import TraceManagement

    async with open_mesh() as mesh:
        yield TraceManagement(*mesh)


@contextlib.asynccontextmanager
async def tenant_management() -> AsyncIterator[TenantManagement]:
    """Open the tenants, prices and usage of the mesh whose registry NATS holds; see ``open_mesh``."""
    from sage_client.management.tenants import TenantManagement

    async with open_mesh() as mesh:
        yield TenantManagement(*mesh)


@contextlib.asynccontextmanager
async def model_management() -> AsyncIterator[OperatorRecords[ModelRoute]]:
    """Open the model routes of the mesh whose registry NATS holds; see ``open_mesh``."""
    from sage_client.management.model_routes import model_routes

    async with open_mesh() as mesh:
        yield model_routes(*mesh)


@contextlib.asynccontextmanager
async def open_mesh() -> AsyncIterator[Mesh]:
    """Open the registry that NATS holds. Raises UnavailableError when NATS does not answer.

    Says on stderr for whom it waits, once that takes longer than two seconds, and which mesh it is where that is not
    this machine's first one.
    """
    from sage_cli.mesh.inspection import nats_settings
    from sage_cli.mesh.registrations import Registrations
    from sage_cli.mesh.running_supervisor import local_state
    from sage_cli.mesh.token import operator_token
    from sage_cli.waiting import waiting

    state = local_state()
    settings = nats_settings(state)
    say_registry(settings.url, runs_here=state is not None)
    registrations = Registrations(settings, "sage-operator")
    with waiting() as display:
        try:
            await registrations.connection()
            yield Mesh(registrations.instances, operator_token(), display.show)
        finally:
            await registrations.close()


def say_registry(nats_url: str, *, runs_here: bool) -> None:
    """Say on stderr whose registry is asked, where it is not that of this machine's first mesh."""
    if not runs_here and "SAGE_NATS_URL" in os.environ:
        _say_mesh(nats_url, "SAGE_NATS_URL")
    elif port_offset():
        _say_mesh(nats_url, f"port offset {port_offset()}")


def say_local_mesh() -> None:
    """Say on stderr which mesh of this machine a command is about, where it is not the first."""
    if port_offset():
        from sage_common import paths

        _say_mesh(str(paths.state_dir()), f"port offset {port_offset()}")


def _say_mesh(address: str, why: str) -> None:
    # The credentials that a URL may hold are nobody's to read.
    notes().print(f"mesh: {address.rpartition('@')[2]} ({why})", markup=False, style="dim")
