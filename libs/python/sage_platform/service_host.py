"""What every service process has in common: NATS, ring, gRPC, metrics, registration, signals, orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Generic, TypeVar

import uvloop
from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext
from prometheus_client import REGISTRY

from sage_common.config import load
from sage_common.errors import ConfigurationError, SageError
from sage_common.logging import configure_logging, get_logger
from sage_common.ports import port_taken
from sage_common.secret_text import without_credentials
from sage_common.service_settings import AccessSettings, LogSettings, NatsSettings, ServiceSettings, instance_id
from sage_common.tasks import end_tasks
from sage_common.telemetry_settings import TelemetrySettings
from sage_common.tls_settings import TlsSettings, configured_tls
from sage_platform import registry, subjects
from sage_platform.background import SERVICE_HEALTH, ServiceHealth
from sage_platform.bind_address import check_bind_address, is_loopback
from sage_platform.grpc_server import GrpcServer
from sage_platform.issued_key_store import IssuedKeyStore
from sage_platform.kv import open_bucket
from sage_platform.machine import machine_id
from sage_platform.metrics_server import serve_metrics
from sage_platform.nats_connection import connect
from sage_platform.probe_pages import ProbePages
from sage_platform.process_gauges import ProcessGauges
from sage_platform.process_tuning import allow_many_open_files, settle_garbage_collector
from sage_platform.ring import Ring
from sage_platform.supervision.process_spec import LEAVE_SIGNAL

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import Tracer

log = get_logger(__name__)

# sysexits.h: a restart does not help with these, so the supervisor does not try.
EXIT_CONFIGURATION = 78
EXIT_UNAVAILABLE = 69
GATEWAY = "gateway"
# What a service's parts may take beyond the drain.
STOP_SECONDS = 5.0

S = TypeVar("S", bound=ServiceSettings)
Stop = Callable[[], Awaitable[None]]


class ServiceHost(Generic[S]):
    """A running service process, handed to the service's ``start`` function.

    Attributes:
        name: service name, e.g. ``"classifier"``.
        settings: the service's settings.
        instance_id: id of this process.
        ring: data plane.
        js: JetStream, for KV and streams.
        grpc: add servicers here before ``start`` returns.
        health: report here what keeps the service from doing its work; gRPC health follows it.
        http_port: set it when the service has an HTTP port; it is registered.
        http_tls: set it where that port is HTTPS.
        keys: what callers need.
        issued_keys: those of them that the mesh has made.
        mesh_token: what this service calls others with; empty for none.
        stopping: set when a signal asked the process to end.
        hurrying: set when a signal asked for it once more.
        replaced: whether another process has taken its place, and it ends when its work does.
    """

    def __init__(
        self, name: str, settings: S, instance: str, ring: Ring, nats: NatsSettings, access: AccessSettings
    ) -> None:
        self.name = name
        self.settings = settings
        self.instance_id = instance
        self.ring = ring
        self.nats_settings = nats
        self.js: JetStreamContext = ring.connection.jetstream()
        self.keys = settings.known_keys(access)
        self.issued_keys = IssuedKeyStore(self.js, self.keys)
        self.mesh_token = access.token()
        self.tls = configured_tls()
        self.grpc = GrpcServer(self.keys, self.tls, shared_port=settings.share_ports)
        self.health = ServiceHealth(self._health_changed)
        self.http_port = 0
        self.http_tls = False
        self.stopping = asyncio.Event()
        self.hurrying = asyncio.Event()
        self.replaced = False
        self._on_reconnect: list[Callable[[], None]] = []
        self._serving = False
        self._showing: set[asyncio.Task[None]] = set()

    async def set_serving(self, serving: bool) -> None:
        """Say over gRPC health that this process takes work, unless ``health`` has a reason against it."""
        self._serving = serving
        await self._show_health()

    @property
    def not_ready(self) -> str | None:
        """Why this process takes no work now; None where it does."""
        return self.health.summary if self._serving else "it starts, or stops"

    @property
    def drain_seconds(self) -> float:
        """Longest wait for work in flight now that it stops."""
        return self.settings.replaced_drain_seconds if self.replaced else self.settings.drain_timeout_seconds

    def leave(self) -> None:
        """Begin to stop: another process has taken the place of this one."""
        self.replaced = True
        self.stopping.set()

    def end(self) -> None:
        """Begin to stop; where it leaves already, without further patience."""
        (self.hurrying if self.stopping.is_set() else self.stopping).set()

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after each NATS reconnection."""
        self._on_reconnect.append(callback)

    async def reconnected(self) -> None:
        """Run the reconnection callbacks."""
        for callback in self._on_reconnect:
            callback()

    def _health_changed(self) -> None:
        showing = asyncio.get_running_loop().create_task(self._show_health())
        self._showing.add(showing)
        showing.add_done_callback(self._showing.discard)

    async def _show_health(self) -> None:
        reason = self.health.summary
        await self.grpc.set_serving(self._serving and reason is None, reason)


def run(name: str, settings_class: type[S], start: Callable[[ServiceHost[S]], Awaitable[Stop]]) -> None:
    """Run a service process to its end; the body of every service's ``main``.

    Args:
        name: service name.
        start: wires the service onto the host and returns what stops it. When it returns, the service is ready.
    """
    instance = instance_id(name)
    allow_many_open_files()
    try:
        settings = load(settings_class, sys.argv[1:])
        nats_settings = load(NatsSettings)
        access = load(AccessSettings)
        telemetry = load(TelemetrySettings)
        check_bind_address(
            settings.host,
            settings.section,
            keys_required=settings.known_keys(access).required,
            insecure=settings.insecure or access.insecure or _asks_for_certificates(name),
        )
        configure_logging(load(LogSettings), service=name, instance=instance)
        tracing = telemetry if telemetry.tracing else None
        uvloop.run(_serve(name, settings, nats_settings, access, tracing, instance, start))
    except ConfigurationError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        raise SystemExit(EXIT_CONFIGURATION) from None
    except SageError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        raise SystemExit(EXIT_UNAVAILABLE) from None


def _asks_for_certificates(name: str) -> bool:
    """Whether whoever connects to a service shows a certificate of the mesh; a gateway has an API beside gRPC."""
    return name != GATEWAY and configured_tls() is not None


async def _serve(
    name: str,
    settings: S,
    nats_settings: NatsSettings,
    access: AccessSettings,
    tracing: TelemetrySettings | None,
    instance: str,
    start: Callable[[ServiceHost[S]], Awaitable[Stop]],
) -> None:
    hosts: list[ServiceHost[S]] = []

    async def reconnected() -> None:
        for host in hosts:
            await host.reconnected()

    connection = await connect(nats_settings, name=instance, on_reconnect=reconnected)
    ring = Ring(connection)
    host = ServiceHost(name, settings, instance, ring, nats_settings, access)
    if host.keys.required and not host.mesh_token:
        log.warning(
            "API keys are set but no mesh token, so services refuse each other's calls; set SAGE_ACCESS_MESH_TOKEN_FILE"
        )
    hosts.append(host)
    host.on_reconnect(ProcessGauges(connection, REGISTRY).reconnected)
    tracer = ring.tracer = None if tracing is None else _trace(host, tracing)
    # Every task that is started from here on reports to it.
    SERVICE_HEALTH.set(host.health)
    await ring.start()
    _end_on_signals(host)
    host.on_reconnect(host.issued_keys.reconnected)
    try:
        await host.issued_keys.start()
        # A signal during a long start (loading weights) must end the process too.
        starting = asyncio.ensure_future(start(host))
        waiting = asyncio.ensure_future(host.stopping.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            await end_tasks(starting)
            return
        stop = await starting
        section = settings.section
        grpc_port = await host.grpc.start(
            settings.host, settings.grpc_port, setting=f"SAGE_{section.upper()}_GRPC_PORT"
        )
        metrics_port = _serve_metrics(host)
        settle_garbage_collector()
        await host.set_serving(True)
        registration = await _register(host, grpc_port, metrics_port)
        log.info("ready", grpc_port=grpc_port, metrics_port=metrics_port, http_port=host.http_port)
        await waiting
        log.info("stopping")
        await host.set_serving(False)
        await registration.stop()
        await _stopped(host, stop)
        await host.grpc.stop(1.0)
    finally:
        await host.issued_keys.stop()
        await ring.close()
        with contextlib.suppress(NatsError, asyncio.TimeoutError):
            await asyncio.wait_for(connection.drain(), 5)
        if tracer is not None:
            tracer.close()


def _trace(host: ServiceHost[S], settings: TelemetrySettings) -> Tracer:
    """Begin to trace; the SDK is loaded only where that is wanted."""
    from sage.trace.v1 import trace_pb2, trace_pb2_grpc
    from sage_platform.tracing.open_tracing import open_tracing
    from sage_platform.tracing.span_service import TraceServicer

    tracer, kept = open_tracing(settings, host.name, host.instance_id, REGISTRY)
    host.grpc.trace(tracer)
    host.grpc.add(
        trace_pb2_grpc.add_TraceServiceServicer_to_server,
        TraceServicer(kept, host.name, host.instance_id),
        trace_pb2.DESCRIPTOR.services_by_name["TraceService"].full_name,
    )
    # The address may hold credentials.
    log.info("tracing", ratio=settings.ratio, collector=without_credentials(settings.traces_endpoint) or None)
    return tracer


async def _stopped(host: ServiceHost[S], stop: Stop) -> None:
    """Stop the service's parts. Raises asyncio.TimeoutError where that takes longer than it may."""
    ending = asyncio.ensure_future(stop())
    hurrying = asyncio.ensure_future(host.hurrying.wait())
    try:
        if host.replaced:
            longest = host.drain_seconds + STOP_SECONDS
            await asyncio.wait({ending, hurrying}, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait_for(ending, host.settings.drain_timeout_seconds + STOP_SECONDS)
    finally:
        await end_tasks(hurrying)


async def _register(host: ServiceHost[S], grpc_port: int, metrics_port: int) -> registry.Registration:
    bucket = await open_bucket(host.js, subjects.BUCKET_SERVICES, ttl_seconds=registry.TTL_SECONDS)
    instance = registry.Instance(
        service=host.name,
        instance_id=host.instance_id,
        host=host.settings.reachable_host,
        pid=os.getpid(),
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        http_port=host.http_port,
        version=_version(),
        tls=host.tls is not None,
        http_tls=host.http_tls,
        machine=machine_id(),
    )
    registration = registry.Registration(bucket, instance)
    await registration.start()
    return registration


def _serve_metrics(host: ServiceHost[S]) -> int:
    settings = host.settings
    probes = ProbePages(asyncio.get_running_loop(), lambda: host.not_ready)
    try:
        tls = None if is_loopback(settings.host) or not load(TlsSettings).metrics else configured_tls()
        return serve_metrics(settings.host, settings.metrics_port, shared=settings.share_ports, probes=probes, tls=tls)
    except OSError:
        setting = f"SAGE_{settings.section.upper()}_METRICS_PORT"
        raise port_taken(settings.metrics_port, settings.host, setting) from None


def _end_on_signals(host: ServiceHost[S]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, host.end)
    loop.add_signal_handler(LEAVE_SIGNAL, host.leave)


def _version() -> str:
    try:
        return version("sage-mesh")
    except PackageNotFoundError:
        return "unknown"
