"""A plan as processes to supervise: NATS first, then every service at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from pydantic import SecretStr

from sage_cli.mesh.environment import chosen_ports, service_environment
from sage_cli.mesh.plan import MeshPlan
from sage_cli.mesh.services import NATS, SERVICES, ServiceEntry, service
from sage_common import paths
from sage_common.config import load, read_yaml
from sage_common.errors import ConfigurationError
from sage_common.ports import SagePorts, free_port, port_is_free, port_taken
from sage_common.service_settings import NatsSettings, secret_of
from sage_platform.nats_server import LOOPBACK, NatsServer, NatsServerOptions, loopback_port
from sage_platform.port_wait import connection_on
from sage_platform.supervision.process_spec import ProcessSpec, ReadyCheck

# Time for a service to load: an embedding model from a cold disk is the slowest.
SERVICE_READY_SECONDS = 120.0
# Longer than a service's own drain (10 s by default, and 5 s more for its parts), so that it is not cut short.
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class NatsChoice:
    """The NATS server to use: ours to start, or one that runs already."""

    settings: NatsSettings
    server: NatsServer | None


def choose_nats(plan: MeshPlan, token_file: Path) -> NatsChoice:
    """Decide which NATS server to use: ``--nats``, else the configured one, which is ours if it is plain loopback.

    Args:
        token_file: holds the token that a server of ours asks for.

    Raises:
        ConfigurationError: the URL is malformed.
    """
    if plan.nats_url:
        loopback_port(plan.nats_url)
        return NatsChoice(load(NatsSettings, url=plan.nats_url), None)
    settings = load(NatsSettings)
    port = loopback_port(settings.url)
    if port is None:
        return NatsChoice(settings, None)
    port = port or free_port()
    options = NatsServerOptions(
        directory=paths.data_dir() / "nats",
        port=port,
        monitor_port=SagePorts.NATS_MONITOR.here if port == SagePorts.NATS.here else 0,
        max_payload_bytes=settings.max_payload_bytes,
        token=secret_of(SecretStr(""), str(token_file)),
    )
    url = f"nats://{LOOPBACK}:{port}"
    return NatsChoice(load(NatsSettings, url=url, token_file=str(token_file)), NatsServer(options))


def nats_spec(server: NatsServer) -> ProcessSpec:
    """NATS: the first to start and the last to stop. Raises ConfigurationError: program missing, port taken."""
    return replace(server.spec(), name=NATS, service=NATS, start_stage=0, stop_stage=2)


def service_specs(
    plan: MeshPlan,
    nats_url: str,
    ready: ReadyCheck,
    token_variables: Mapping[str, str] = MappingProxyType({}),
    environ: Mapping[str, str] = os.environ,
) -> list[ProcessSpec]:
    """Every replica of every service.

    Args:
        token_variables: variables that say where the mesh's token is.

    Raises:
        ConfigurationError: a fixed port is taken.
    """
    config_file = paths.config_file()
    configured = read_yaml(config_file) if config_file.exists() else {}
    specs = []
    for entry in SERVICES:
        section = configured.get(entry.section)
        for replica in range(1, plan.replicas.get(entry.name, 1) + 1):
            variables = service_environment(
                entry, replica, plan, nats_url, section if isinstance(section, dict) else {}, environ
            )
            variables |= token_variables
            _refuse_taken_ports(entry, {**environ, **variables})
            specs.append(
                ProcessSpec(
                    name=entry.name if replica == 1 else f"{entry.name}-{replica}",
                    service=entry.name,
                    argv=(sys.executable, "-m", entry.module),
                    environment=variables,
                    ready=ready,
                    start_stage=1,
                    stop_stage=0 if entry.edge else 1,
                    ready_timeout_seconds=SERVICE_READY_SECONDS,
                    stop_timeout_seconds=STOP_SECONDS,
                )
            )
    return specs


def fixed_ports(specs: Iterable[ProcessSpec], environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return the ports that the services of ``specs`` are told to take, by the variable that sets each."""
    return {
        variable: port
        for spec in specs
        if spec.service != NATS
        for variable, port in chosen_ports(service(spec.service), {**environ, **spec.environment}).items()
    }


def _refuse_taken_ports(entry: ServiceEntry, variables: Mapping[str, str]) -> None:
    """Find a taken port before anything is started; the service would only find it after its imports."""
    for variable, port in chosen_ports(entry, variables).items():
        # What only a connection holds is waited for.
        if not port_is_free(port) and connection_on(port) is None:
            error: ConfigurationError = port_taken(port, LOOPBACK, variable)
            raise error
