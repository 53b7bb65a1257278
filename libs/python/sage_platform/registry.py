"""Who is up: every service instance keeps a record in KV, refreshed until it leaves or dies."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, field

import orjson
from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.background import keep_running
from sage_platform.kv import read_records, record_fields
from sage_platform.machine import machine_id
from sage_platform.subjects import token

log = get_logger(__name__)

REFRESH_SECONDS = 3.0
TTL_SECONDS = 10.0


@dataclass(frozen=True)
class Instance:
    """One running process of a service.

    Attributes:
        host: address that others reach it at.
        machine: where it runs, see ``machine_id``; empty from a process of an earlier version.
        tls: whether its gRPC API asks for a certificate of the mesh.
        http_tls: whether its HTTP API is HTTPS.
    """

    service: str
    instance_id: str
    host: str
    pid: int
    grpc_port: int
    metrics_port: int = 0
    http_port: int = 0
    version: str = ""
    started_unix_seconds: float = field(default_factory=time.time)
    tls: bool = False
    http_tls: bool = False
    machine: str = ""

    @property
    def grpc_address(self) -> str:
        """``host:port`` of its gRPC API."""
        return f"{self.host}:{self.grpc_port}"

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, so that its pid is a process's here."""
        return not self.machine or self.machine == machine_id()

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return f"{token(self.service)}.{token(self.instance_id)}"


def instance_from_record(value: bytes) -> Instance:
    """Read a record; fields of a newer version are ignored. Raises ValueError."""
    try:
        return Instance(**record_fields(Instance, value))
    except TypeError as error:
        raise ValueError(str(error)) from None


class Registration:
    """Keeps one instance's record fresh."""

    def __init__(self, bucket: KeyValue, instance: Instance) -> None:
        self._bucket = bucket
        self._instance = instance
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Write the record and keep it fresh."""
        await self._write()
        self._task = keep_running(self._refresh, name="registration")

    async def stop(self) -> None:
        """Remove the record."""
        if self._task:
            await end_tasks(self._task)
        try:
            await self._bucket.delete(self._instance.key)
        except (NatsError, asyncio.TimeoutError) as error:
            log.warning("record not removed; it expires by itself", error=str(error) or repr(error))

    async def _write(self) -> None:
        await self._bucket.put(self._instance.key, orjson.dumps(asdict(self._instance)))

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._write()
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("record not refreshed; trying again", error=str(error) or repr(error))


async def list_instances(bucket: KeyValue) -> list[Instance]:
    """Return the instances whose records are fresh, by service and start. Records that cannot be read are skipped."""
    instances = (await read_records(bucket, instance_from_record)).values()
    return sorted(instances, key=lambda i: (i.service, i.started_unix_seconds))
