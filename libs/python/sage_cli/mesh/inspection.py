"""The mesh as it is now, from the supervisor's state, the registry, gRPC health and the engines' heartbeats."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable, Mapping

import psutil
from nats.aio.client import Client
from nats.errors import Error as NatsError

from sage_cli.mesh.engine_readiness import open_directory
from sage_cli.mesh.plan import PLAN_FACT, MeshPlan
from sage_cli.mesh.registrations import Registrations, why_not_serving
from sage_cli.mesh.running_supervisor import local_state
from sage_cli.mesh.security import TLS_FACT, certificate_warnings, has_joined, own_certificates
from sage_cli.mesh.services import NATS
from sage_cli.mesh.studio_process import STUDIO
from sage_cli.mesh.token import operator_token
from sage_cli.mesh.view import EngineView, MeshView, NatsView, ProcessView
from sage_client.management.mesh_management import MeshManagement
from sage_client.management.views import PoolView
from sage_common.config import load
from sage_common.errors import SageError, describe
from sage_common.ports import port_is_free
from sage_common.secret_text import without_credentials
from sage_common.service_settings import NatsSettings
from sage_control_plane.request.engine_state import EngineState
from sage_platform.nats_server import LOOPBACK, loopback_port
from sage_platform.registry import Instance
from sage_platform.ring import Ring
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus
from sage_platform.supervision.state_file import SupervisorState

CONNECT_SECONDS = 2.0
# Executors answer a hello at once; one that has no engines has nothing to say.
HEARTBEAT_SECONDS = 0.6
# A scheduler whose health has just been asked answers at once.
POOLS_SECONDS = 2.0
EXECUTORS = ("llm-coordinator", "embed-executor")
# Processes that are no services of the mesh.
UNREGISTERED = (NATS, STUDIO)


def nats_settings(state: SupervisorState | None) -> NatsSettings:
    """Return how to reach the mesh's NATS: as the local supervisor says, or as configured."""
    url = state.facts.get("nats_url") if state else None
    if url:
        return load(NatsSettings, url=url, connect_timeout_seconds=CONNECT_SECONDS)
    return load(NatsSettings, connect_timeout_seconds=CONNECT_SECONDS)


async def inspect_mesh() -> MeshView:
    """Return the mesh as it is now, without what cannot be reached.

    The record of a killed process stays in the registry for some seconds; it is left out where that process was on this
    machine.
    """
    state = local_state()
    settings = nats_settings(state)
    registrations = Registrations(settings, "sage-status")
    instances: list[Instance] = []
    faults: list[str | None] = []
    engines: list[EngineState] = []
    pools: list[PoolView] = []
    nats: NatsView | None = None
    trouble = ""
    try:
        if _is_down(settings.url):
            trouble = f"no NATS server listens at {settings.url}" if state else ""
        else:
            connection = await registrations.connection()
            instances = await registrations.instances()
            faults = list(await asyncio.gather(*(why_not_serving(instance) for instance in instances)))
            serving = [instance for instance, fault in zip(instances, faults, strict=True) if not fault]
            executors = [instance for instance in serving if instance.service in EXECUTORS]
            engines = await _engines(connection, len(executors)) if executors else []
            pools = await _pools(serving)
            nats = await _nats(connection)
    except (SageError, NatsError, asyncio.TimeoutError) as error:
        trouble = f"NATS does not do its work: {describe(error)}"
    finally:
        await registrations.close()
    health = {i.pid: fault for i, fault in zip(instances, faults, strict=False) if not _is_elsewhere(i)}
    if trouble and state is not None:
        # The registry is out of reach; the services of this machine can be asked where the supervisor found them.
        health |= await _local_health(state)
    return _assembled(state, instances, faults, health, engines, pools, nats, trouble)


async def _local_health(state: SupervisorState) -> dict[int, str | None]:
    """Return why each supervised service does not serve, by pid; None for one that does."""
    tls = TLS_FACT in state.facts
    asked = {
        status.identity.pid: Instance(status.service, status.name, LOOPBACK, 0, status.ports["grpc"], tls=tls)
        for status in state.processes
        if status.identity is not None and "grpc" in status.ports
    }
    return dict(zip(asked, await asyncio.gather(*map(why_not_serving, asked.values())), strict=True))


def _assembled(
    state: SupervisorState | None,
    instances: list[Instance],
    faults: list[str | None],
    health: Mapping[int, str | None],
    engines: list[EngineState],
    pools: list[PoolView],
    nats: NatsView | None,
    trouble: str = "",
) -> MeshView:
    here = own_host(state)
    processes = [_local(status, health, here) for status in (state.processes if state else ())]
    known = {process.pid for process in processes if process.pid}
    processes += [
        _registered(instance, fault)
        for instance, fault in zip(instances, faults, strict=False)
        if _is_elsewhere(instance) or (instance.pid not in known and psutil.pid_exists(instance.pid))
    ]
    phase = state.phase.value if state else "external" if instances else "stopped"
    certificates = own_certificates() if state and TLS_FACT in state.facts else ()
    return MeshView(
        phase=phase,
        message="; ".join(filter(None, (state.message if state else "", trouble))),
        supervisor_pid=state.supervisor.pid if state else 0,
        gateway_url=_gateway_url(state, instances),
        nats=nats,
        processes=tuple(processes),
        engines=tuple(engine_view(engine, _host_of(engine, instances)) for engine in engines),
        secured=TLS_FACT in state.facts if state else any(instance.tls for instance in instances),
        warnings=certificate_warnings(certificates, time.time(), joined=has_joined()) if certificates else (),
        certificates_end_unix_seconds=certificates[0].expires_unix_seconds if certificates else None,
        pools=tuple(pools),
        this_host=here,
    )


def own_host(state: SupervisorState | None) -> str:
    """Return the address that this machine has in its mesh: loopback where that is of one machine."""
    text = state.facts.get(PLAN_FACT) if state else None
    return (MeshPlan.from_json(text).advertise if text else "") or LOOPBACK


def _host_of(engine: EngineState, instances: Iterable[Instance]) -> str:
    """Return where the executor of an engine runs; empty where it has not registered."""
    return next((one.host for one in instances if one.instance_id == engine.executor_id), "")


def engine_view(engine: EngineState, host: str = "") -> EngineView:
    """Return an engine's state as people see it."""
    spec = engine.spec
    return EngineView(
        engine_id=spec.engine_id,
        implementation=spec.implementation,
        phase=engine.phase.name.lower(),
        pool=spec.pool,
        executor=engine.executor_id,
        models=tuple(card.name for card in spec.models),
        kinds=tuple(sorted({kind.name.lower() for card in spec.models for kind in card.kinds})),
        outstanding=len(engine.running),
        capacity=spec.max_concurrency,
        waiting=engine.load.waiting if engine.load else 0,
        reason=engine.reason,
        labels=dict(spec.labels),
        name=spec.name,
        capacity_source=spec.capacity_source.name.lower(),
        phase_seconds=engine.phase_seconds,
        host=host,
    )


async def _engines(connection: Client, executors: int) -> list[EngineState]:
    ring = Ring(connection)
    await ring.start()
    directory = open_directory(ring, "sage-status")
    await directory.start()
    try:
        await directory.wait_until(
            lambda d: len({engine.executor_id for engine in d.engines.values()}) >= executors, HEARTBEAT_SECONDS
        )
        return sorted(directory.engines.values(), key=lambda engine: engine.spec.engine_id)
    finally:
        await directory.stop()
        await ring.close()


async def _pools(serving: list[Instance]) -> list[PoolView]:
    """Return the pools as their leaders count; none where no scheduler answers, or this user has no key for it."""

    async def instances() -> list[Instance]:
        return serving

    try:
        return await asyncio.wait_for(MeshManagement(instances, operator_token()).pools(), POOLS_SECONDS)
    except (SageError, asyncio.TimeoutError):
        return []


async def _nats(connection: Client) -> NatsView:
    account = await connection.jetstream().account_info()
    url = connection.connected_url
    version = str(connection.connected_server_version).strip("<>")
    return NatsView(without_credentials(url.geturl()) if url else "", version, account.streams, account.storage)


def _local(status: ProcessStatus, health: Mapping[int, str | None], host: str) -> ProcessView:
    process = status.identity.process() if status.identity else None
    pid = status.identity.pid if status.identity and process else 0
    ready = status.phase is ProcessPhase.READY
    if status.service in UNREGISTERED:
        # What keeps it from its work the supervisor says in its message.
        fault = status.message or None if ready else "is not ready"
    else:
        fault = health.get(pid, "has not registered")
    return ProcessView(
        name=status.name,
        service=status.service,
        phase=status.phase.value if pid or status.identity is None else "gone",
        host=host,
        pid=pid,
        ports=dict(status.ports),
        serving=fault is None,
        rss_bytes=_memory(process),
        uptime_seconds=_uptime(status.identity) if pid else 0.0,
        restarts=status.restarts,
        message=status.message or (fault if ready and fault else ""),
        log=status.log,
    )


def _registered(instance: Instance, fault: str | None) -> ProcessView:
    http = "https" if instance.http_tls else "http"
    ports = {http: instance.http_port, "grpc": instance.grpc_port, "metrics": instance.metrics_port}
    return ProcessView(
        name=instance.instance_id,
        service=instance.service,
        phase="registered",
        host=instance.host,
        pid=instance.pid,
        ports={name: port for name, port in ports.items() if port},
        serving=fault is None,
        message=fault or "",
        uptime_seconds=max(0.0, time.time() - instance.started_unix_seconds),
    )


def _memory(process: psutil.Process | None) -> int:
    """Return the resident bytes of a process and of those that it started; 0 when it has ended."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)] if process else []
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _uptime(identity: ProcessIdentity | None) -> float:
    return max(0.0, time.time() - identity.created_unix_seconds) if identity else 0.0


def _is_down(nats_url: str) -> bool:
    """Whether the server would run on this machine and does not, so that there is no point in waiting for it."""
    port = loopback_port(nats_url)
    return port is not None and port_is_free(port)


def _is_elsewhere(instance: Instance) -> bool:
    if instance.machine:
        return not instance.is_here
    return instance.host not in ("127.0.0.1", "localhost", socket.gethostname())


def _gateway_url(state: SupervisorState | None, instances: Iterable[Instance]) -> str:
    if state and "gateway_url" in state.facts:
        return state.facts["gateway_url"]
    return next((_http_url(i) for i in instances if i.service == "gateway" and i.http_port), "")


def _http_url(instance: Instance) -> str:
    return f"{'https' if instance.http_tls else 'http'}://{instance.host}:{instance.http_port}"
