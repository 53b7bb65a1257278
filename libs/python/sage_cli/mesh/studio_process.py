"""The studio beside a mesh: a process that ``sage up`` supervises and no service of the mesh."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import sys
from collections.abc import Mapping

import psutil

from sage_cli.mesh.environment import COMMON, ONE_THREAD
from sage_common import paths
from sage_common.config import read_yaml
from sage_common.errors import ConfigurationError
from sage_common.ports import SagePorts, port_is_free, port_taken
from sage_platform.nats_server import LOOPBACK
from sage_platform.port_wait import connection_on
from sage_platform.supervision.process_spec import ProcessSpec

STUDIO = "studio"
PORT_VARIABLE = "SAGE_STUDIO_PORT"
GATEWAY_VARIABLE = "SAGE_GATEWAY_STUDIO_URL"
READY_SECONDS = 60.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.1
MOST_PORT = 65_535
# Of NiceGUI, as the extra asks for it.
LEAST_VERSION = (3, 18)


def is_installed() -> bool:
    """Whether the extra ``studio`` is there, and not an older NiceGUI of something else."""
    try:
        found = re.match(r"(\d+)\.(\d+)", importlib.metadata.version("nicegui"))
    except importlib.metadata.PackageNotFoundError:
        return False
    return found is not None and (int(found[1]), int(found[2])) >= LEAST_VERSION


def studio_port(environ: Mapping[str, str]) -> int:
    """Return the port that the studio is told to take; 0 for a free one. Raises ConfigurationError."""
    config_file = paths.config_file()
    section = read_yaml(config_file).get(STUDIO) if config_file.exists() else None
    configured = section.get("port") if isinstance(section, dict) else None
    port = str(environ.get(PORT_VARIABLE) or (SagePorts.STUDIO.here if configured is None else configured))
    if not port.isdecimal() or int(port) > MOST_PORT:
        raise ConfigurationError(f"{PORT_VARIABLE} is {port!r}; give a port up to {MOST_PORT}, or 0 for a free one")
    return int(port)


def studio_url(environ: Mapping[str, str]) -> str:
    """Return the address of the studio for people; empty where its port is not known before it runs."""
    port = studio_port(environ)
    return f"http://localhost:{port}/" if port else ""


def port_in_use(environ: Mapping[str, str]) -> int | None:
    """Return the studio's port where another program has it, None where it can be had. Raises ConfigurationError."""
    port = studio_port(environ)
    # What only a connection holds is free in a moment.
    return port if port and not port_is_free(port) and connection_on(port) is None else None


def studio_spec(environ: Mapping[str, str]) -> ProcessSpec:
    """The studio as a process: it starts beside the services and stops first. Raises ConfigurationError: port taken."""
    port = studio_port(environ)
    if port_in_use(environ):
        taken: ConfigurationError = port_taken(port, LOOPBACK, f"{PORT_VARIABLE}, or leave the studio out: --no-studio")
        raise taken
    variables = {name: value for name, value in {**COMMON, **ONE_THREAD}.items() if name not in environ}
    return ProcessSpec(
        name=STUDIO,
        service=STUDIO,
        argv=(sys.executable, "-m", "sage_studio"),
        environment={**variables, PORT_VARIABLE: str(port)},
        ready=_listens,
        start_stage=1,
        stop_stage=0,
        ready_timeout_seconds=READY_SECONDS,
        stop_timeout_seconds=STOP_SECONDS,
    )


async def _listens(pid: int) -> Mapping[str, int]:
    """Return once the process accepts connections. It has no gRPC, and is not in the registry."""
    while True:
        try:
            connections = psutil.Process(pid).net_connections("tcp")
        except psutil.Error:
            connections = []
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN:
                return {"http": connection.laddr.port}
        await asyncio.sleep(POLL_SECONDS)
