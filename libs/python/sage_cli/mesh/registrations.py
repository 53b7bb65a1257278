"""Waiting until a service process is ready: it has registered in KV and its gRPC health says SERVING."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from sage_common.service_settings import NatsSettings
from sage_platform import registry, subjects
from sage_platform.grpc_server import HEALTH_METADATA, channel_to
from sage_platform.kv import open_bucket
from sage_platform.nats_connection import connect
from sage_platform.supervision.process_spec import ReadyCheck

POLL_SECONDS = 0.1
HEALTH_TIMEOUT_SECONDS = 2.0


class Registrations:
    """The registry of running instances, read through one connection that opens on first use."""

    def __init__(self, settings: NatsSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._connection: Client | None = None
        self._bucket: KeyValue | None = None
        self._lock = asyncio.Lock()
        self._instances: list[registry.Instance] = []
        self._read_at = float("-inf")

    async def connection(self) -> Client:
        """Return the NATS connection. Raises UnavailableError when no server answers."""
        async with self._lock:
            if self._connection is None:
                self._connection = await connect(self._settings, name=self._name)
            return self._connection

    async def close(self) -> None:
        """Close the connection, if it was opened."""
        if self._connection is not None:
            await self._connection.close()

    async def instances(self) -> list[registry.Instance]:
        """Return the registered instances, as of at most POLL_SECONDS ago; all who wait share one reading."""
        connection = await self.connection()
        async with self._lock:
            if time.monotonic() - self._read_at >= POLL_SECONDS:
                if self._bucket is None:
                    self._bucket = await open_bucket(
                        connection.jetstream(), subjects.BUCKET_SERVICES, ttl_seconds=registry.TTL_SECONDS
                    )
                self._instances = await registry.list_instances(self._bucket)
                self._read_at = time.monotonic()
            return self._instances

    def ready_check(self) -> ReadyCheck:
        """The check that a process has registered and serves gRPC."""

        async def wait(pid: int) -> Mapping[str, int]:
            while True:
                try:
                    for instance in await self.instances():
                        if instance.is_here and instance.pid == pid and await is_serving(instance):
                            return _ports(instance)
                except (NatsError, asyncio.TimeoutError):
                    # NATS restarts too; the process's own time limit says when this has taken too long.
                    pass
                await asyncio.sleep(POLL_SECONDS)

        return wait


async def is_serving(instance: registry.Instance) -> bool:
    """Ask an instance's gRPC health."""
    return await why_not_serving(instance) is None


async def why_not_serving(instance: registry.Instance) -> str | None:
    """Ask the gRPC health of an instance; return why it does not serve, None when it does."""
    async with channel_to(instance) as open_channel:
        stub = health_pb2_grpc.HealthStub(open_channel)
        call = stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_SECONDS)
        try:
            answer = await call
            trailing = await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            return f"does not answer: {error.code().name.lower()}"
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return None
        reason = next((value for key, value in trailing or () if key == HEALTH_METADATA), None)
        return str(reason) if reason else "says that it is not serving"


def _ports(instance: registry.Instance) -> dict[str, int]:
    http = "https" if instance.http_tls else "http"
    ports = {http: instance.http_port, "grpc": instance.grpc_port, "metrics": instance.metrics_port}
    return {name: port for name, port in ports.items() if port}
