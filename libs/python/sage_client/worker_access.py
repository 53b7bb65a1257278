"""Which way a client takes to the dataflow workers: by its target's scheme, through a gateway or to themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sage_client.settings import ClientSettings
from sage_client.transport_choice import HTTP_SCHEMES, NATS_SECONDS, RING_SCHEMES
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_common.secret_text import without_credentials
from sage_common.service_settings import AccessSettings, NatsSettings

if TYPE_CHECKING:
    from sage_client.http import HttpTransport
    from sage_client.management.service_calls import ListInstances
    from sage_platform.registry import Instance

GRPC_SCHEME = "grpc"
MAX_CONNECTIONS = 16


@dataclass(frozen=True)
class WorkerAccess:
    """The workers themselves.

    Attributes:
        list_instances: returns those there are.
        token: API key or mesh token that they are called with; empty for none.
        closing: releases what ``list_instances`` uses; None where that is nothing.
    """

    list_instances: ListInstances
    token: str
    closing: Callable[[], Awaitable[None]] | None = None


async def reach_workers(service: str, target: str | None, api_key: str | None) -> HttpTransport | WorkerAccess:
    """Return the way to the gateway, or to the workers. What is None comes from the settings' section ``client``.

    Args:
        service: the workers' service, as it is registered.
        target: ``http://host:8888`` for a gateway; ``nats://host:4222`` for the workers that its registry names, or
            ``grpc://host:50056`` for one worker.

    Raises:
        ConfigurationError: the target is none of these.
        UnavailableError: no NATS server answers. A gateway or worker that does not answer shows at the first call.
    """
    settings = load(ClientSettings)
    target = target or settings.target
    key = settings.api_key.get_secret_value() if api_key is None else api_key
    scheme = urlsplit(target).scheme
    # The ways pull in different libraries; each is imported when it is chosen.
    if scheme in HTTP_SCHEMES:
        from sage_client.http import HttpTransport

        return HttpTransport(target, api_key=key, max_connections=MAX_CONNECTIONS)
    token = key or load(AccessSettings).token()
    if scheme == GRPC_SCHEME:
        host, port = urlsplit(target).hostname, urlsplit(target).port
        if host and port:
            return _one_worker(service, target, host, port, token)
    if scheme in RING_SCHEMES:
        return await _registered_workers(target, token)
    raise ConfigurationError(
        f"target {without_credentials(target)!r} is neither a gateway (http://host:8888), nor the server of a mesh "
        "(nats://host:4222), nor a dataflow worker (grpc://host:50056)"
    )


def _one_worker(service: str, target: str, host: str, port: int, token: str) -> WorkerAccess:
    from sage_platform.registry import Instance

    worker = Instance(service, target, f"[{host}]" if ":" in host else host, 0, port)

    async def only() -> list[Instance]:
        return [worker]

    return WorkerAccess(only, token)


async def _registered_workers(target: str, token: str) -> WorkerAccess:
    from sage_platform import registry, subjects
    from sage_platform.kv import open_bucket
    from sage_platform.nats_connection import connect

    nats = load(NatsSettings, url=target)
    # A person waits for it; a service that starts beside NATS has more patience.
    seconds = min(nats.connect_timeout_seconds, NATS_SECONDS)
    connection = await connect(nats.model_copy(update={"connect_timeout_seconds": seconds}), name="workers")

    async def registered() -> list[registry.Instance]:
        bucket = await open_bucket(connection.jetstream(), subjects.BUCKET_SERVICES, ttl_seconds=registry.TTL_SECONDS)
        return await registry.list_instances(bucket)

    return WorkerAccess(registered, token, connection.close)
