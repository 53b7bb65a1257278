"""A plan as processes to supervise: NATS first, then every service at once."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from pydantic import SecretStr

from sage_cli.mesh.environment import chosen_ports, service_environment
from sage_cli.mesh.plan import MeshPlan
from sage_cli.mesh.security import tls_variables
from sage_cli.mesh.services import NATS, SERVICES, ServiceEntry, service
from sage_cli.mesh.studio_process import GATEWAY_VARIABLE, STUDIO, studio_spec, studio_url
from sage_common import paths
from sage_common.config import load, read_yaml
from sage_common.errors import ConfigurationError
from sage_common.ports import SagePorts, free_port, port_is_free, port_taken
from sage_common.service_settings import NatsSettings, secret_of
from sage_platform.nats_cluster import ANY_ADDRESS, NatsCluster
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


def choose_nats(plan: MeshPlan, token_file: Path, tls_folder: Path | None = None) -> NatsChoice:
    """Decide which NATS server to use: ``--nats``, else the configured one, which is ours if it is plain loopback.

    Args:
        token_file: holds the token that a server of ours asks for.
        tls_folder: the mesh's certificates, which it asks for in place of the token; None for a mesh without.

    Raises:
        ConfigurationError: the URL is malformed, or names another's server where this machine runs the mesh's.
    """
    if plan.nats_url:
        loopback_port(plan.nats_url)
        return NatsChoice(load(NatsSettings, url=plan.nats_url), None)
    runs_here = not plan.join or plan.advertise in plan.cluster
    if not runs_here:
        return NatsChoice(load(NatsSettings, url=server_urls(plan) or plan.join), None)
    settings = load(NatsSettings)
    if plan.advertise and not plan.join:
        _refuse_other_servers(plan, settings)
    port = SagePorts.NATS.here if plan.advertise else loopback_port(settings.url)
    if port is None:
        return NatsChoice(settings, None)
    port = port or free_port()
    options = NatsServerOptions(
        # What a server alone has stored is not a cluster's, and the other way round.
        directory=paths.data_dir() / ("nats-cluster" if plan.cluster else "nats"),
        port=port,
        monitor_port=SagePorts.NATS_MONITOR.here if port == SagePorts.NATS.here else 0,
        max_payload_bytes=settings.max_payload_bytes,
        token=secret_of(SecretStr(""), str(token_file)),
        tls_folder=tls_folder / NATS if tls_folder else None,
        host=ANY_ADDRESS if plan.advertise else LOOPBACK,
        cluster=_cluster(plan, tls_folder, port),
    )
    url = server_urls(plan) or f"nats://{LOOPBACK}:{port}"
    return NatsChoice(load(NatsSettings, url=url, token_file=str(token_file)), NatsServer(options))


def _refuse_other_servers(plan: MeshPlan, settings: NatsSettings) -> None:
    """Refuse settings that name a server which is none of those that a mesh of several machines runs itself."""
    own = {plan.advertise, *plan.cluster}
    for url in settings.url.split(","):
        if loopback_port(url) is None and urlsplit(url).hostname not in own:
            raise ConfigurationError(
                f"the setting nats.url is {settings.shown_url}, a server of your own; with --advertise the mesh runs "
                "its own, which would start empty: unset SAGE_NATS_URL (or nats.url in the configuration file), or "
                "leave out --advertise"
            )


def own_url(address: str = LOOPBACK) -> str:
    """Return the URL of the server that a mesh of several machines runs here, at one of this machine's addresses."""
    return f"nats://{address}:{SagePorts.NATS.here}"


def server_urls(plan: MeshPlan) -> str:
    """Return the URLs of a NATS cluster's servers, this machine's own first; empty where one server is all."""
    others = [f"nats://{at}:{SagePorts.NATS.here}" for at in plan.cluster if at != plan.advertise]
    return ",".join([*([own_url()] if len(others) < len(plan.cluster) else []), *others])


def _cluster(plan: MeshPlan, tls_folder: Path | None, port: int) -> NatsCluster | None:
    if not plan.cluster or tls_folder is None:
        return None
    # Certificates take a library that no other mesh needs.
    from sage_platform.mesh_tls.secured_folder import SecuredFolder

    others = [address for address in plan.cluster if address != plan.advertise]
    folder = SecuredFolder(tls_folder, datetime.datetime.now(datetime.timezone.utc))
    return NatsCluster(plan.advertise, others, SagePorts.NATS_CLUSTER.here, port, folder.cluster_password())


def nats_spec(server: NatsServer, ready_seconds: float | None = None) -> ProcessSpec:
    """NATS: the first to start and the last to stop.

    Args:
        ready_seconds: how long it may take until it is ready, where other machines' servers are waited for.

    Raises:
        ConfigurationError: program missing, port taken.
    """
    spec = server.spec()
    timeout = max(spec.ready_timeout_seconds, ready_seconds or 0.0)
    return replace(spec, name=NATS, service=NATS, start_stage=0, stop_stage=2, ready_timeout_seconds=timeout)


def service_specs(
    plan: MeshPlan,
    nats_url: str,
    ready: ReadyCheck,
    token_variables: Mapping[str, str] = MappingProxyType({}),
    tls_folder: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> list[ProcessSpec]:
    """Every replica of every service, and the studio.

    Args:
        token_variables: variables that say where the mesh's token is.
        tls_folder: the mesh's certificates; None for a mesh without.

    Raises:
        ConfigurationError: a fixed port is taken.
    """
    config_file = paths.config_file()
    configured = read_yaml(config_file) if config_file.exists() else {}
    specs = []
    for entry in SERVICES:
        section = configured.get(entry.section)
        count = plan.replicas.get(entry.name, 1)
        if entry.name == "gateway":
            count = plan.gateways or count
        for replica in range(1, count + 1):
            variables = service_environment(
                entry, replica, plan, nats_url, section if isinstance(section, dict) else {}, environ
            )
            variables |= {**token_variables, **tls_variables(tls_folder, entry.name)}
            if plan.studio and entry.name == "gateway" and GATEWAY_VARIABLE not in environ:
                variables[GATEWAY_VARIABLE] = studio_url(environ)
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
    if plan.studio:
        specs.append(studio_spec(environ))
    return specs


def fixed_ports(specs: Iterable[ProcessSpec], environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return the ports that the services of ``specs`` are told to take, by the variable that sets each."""
    return {
        variable: port
        for spec in specs
        if spec.service not in (NATS, STUDIO)
        for variable, port in chosen_ports(service(spec.service), {**environ, **spec.environment}).items()
    }


def _refuse_taken_ports(entry: ServiceEntry, variables: Mapping[str, str]) -> None:
    """Find a taken port before anything is started; the service would only find it after its imports."""
    for variable, port in chosen_ports(entry, variables).items():
        # What only a connection holds is waited for.
        if not port_is_free(port) and connection_on(port) is None:
            error: ConfigurationError = port_taken(port, LOOPBACK, variable)
            raise error
