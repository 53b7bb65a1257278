"""What every service process has in common: NATS, ring, gRPC, metrics, registration, signals, orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Generic, TypeVar

import prometheus_client
import uvloop
from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext

from sage_common.config import load
from sage_common.errors import ConfigurationError, SageError
from sage_common.logging import configure_logging, get_logger
from sage_common.ports import port_taken
from sage_common.service_settings import AccessSettings, LogSettings, NatsSettings, ServiceSettings, instance_id
from sage_common.tasks import end_tasks
from sage_platform import registry, subjects
from sage_platform.background import SERVICE_HEALTH, ServiceHealth
from sage_platform.bind_address import check_bind_address
from sage_platform.grpc_server import GrpcServer
from sage_platform.issued_key_store import IssuedKeyStore
from sage_platform.kv import open_bucket
from sage_platform.nats_connection import connect
from sage_platform.process_tuning import allow_many_open_files, settle_garbage_collector
from sage_platform.ring import Ring

log = get_logger(__name__)

# sysexits.h: a restart does not help with these, so the supervisor does not try.
EXIT_CONFIGURATION = 78
EXIT_UNAVAILABLE = 69

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
        keys: what callers need.
        issued_keys: those of them that the mesh has made.
        mesh_token: what this service calls others with; empty for none.
        stopping: set when a signal asked the process to end.
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
        self.grpc = GrpcServer(self.keys)
        self.health = ServiceHealth(self._health_changed)
        self.http_port = 0
        self.stopping = asyncio.Event()
        self._on_reconnect: list[Callable[[], None]] = []
        self._serving = False
        self._showing: set[asyncio.Task[None]] = set()

    async def set_serving(self, serving: bool) -> None:
        """Say over gRPC health that this process takes work, unless ``health`` has a reason against it."""
        self._serving = serving
        await self._show_health()

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
        check_bind_address(
            settings.host,
            settings.section,
            keys_required=settings.known_keys(access).required,
            insecure=settings.insecure or access.insecure,
        )
        configure_logging(load(LogSettings), service=name, instance=instance)
        uvloop.run(_serve(name, settings, nats_settings, access, instance, start))
    except ConfigurationError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        raise SystemExit(EXIT_CONFIGURATION) from None
    except SageError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        raise SystemExit(EXIT_UNAVAILABLE) from None


async def _serve(
    name: str,
    settings: S,
    nats_settings: NatsSettings,
    access: AccessSettings,
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
    # Every task that is started from here on reports to it.
    SERVICE_HEALTH.set(host.health)
    await ring.start()
    _end_on_signals(host.stopping)
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
        metrics_port = _serve_metrics(settings)
        settle_garbage_collector()
        await host.set_serving(True)
        registration = await _register(host, grpc_port, metrics_port)
        log.info("ready", grpc_port=grpc_port, metrics_port=metrics_port, http_port=host.http_port)
        await waiting
        log.info("stopping")
        await host.set_serving(False)
        await registration.stop()
        await asyncio.wait_for(stop(), settings.drain_timeout_seconds + 5)
        await host.grpc.stop(1.0)
    finally:
        await host.issued_keys.stop()
        await ring.close()
        with contextlib.suppress(NatsError, asyncio.TimeoutError):
            await asyncio.wait_for(connection.drain(), 5)


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
    )
    registration = registry.Registration(bucket, instance)
    await registration.start()
    return registration


def _serve_metrics(settings: ServiceSettings) -> int:
    try:
        server, _thread = prometheus_client.start_http_server(settings.metrics_port, addr=settings.host)
    except OSError:
        setting = f"SAGE_{settings.section.upper()}_METRICS_PORT"
        raise port_taken(settings.metrics_port, settings.host, setting) from None
    return int(server.server_port)


def _end_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)


def _version() -> str:
    try:
        return version("sage-mesh")
    except PackageNotFoundError:
        return "unknown"
