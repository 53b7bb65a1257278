"""Which way a client takes to jobs: by its target's scheme, through a gateway or to the workers themselves."""

from __future__ import annotations

from urllib.parse import urlsplit

from sage_client.jobs.jobs import Jobs
from sage_client.settings import ClientSettings
from sage_client.transport_choice import HTTP_SCHEMES, NATS_SECONDS, RING_SCHEMES
from sage_client.wait_notice import OnWait
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_common.secret_text import without_credentials
from sage_common.service_settings import AccessSettings, NatsSettings

GRPC_SCHEME = "grpc"
MAX_CONNECTIONS = 16


async def open_jobs(
    target: str | None = None, *, api_key: str | None = None, on_wait: OnWait | None = None
) -> Jobs:
    """Connect. What is None comes from the settings' section ``client``.

    Args:
        target: ``http://host:8888`` for a gateway; ``nats://host:4222`` for the workers that its registry names, or
            ``grpc://host:50056`` for one worker.
        on_wait: called with which worker a call waits for, when that takes longer than two seconds.

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
        from sage_client.jobs.rest_jobs import RestJobs

        return RestJobs(HttpTransport(target, api_key=key, max_connections=MAX_CONNECTIONS))
    from sage_client.jobs.grpc_jobs import WORKER, GrpcJobs
    from sage_platform.registry import Instance

    token = key or load(AccessSettings).token()
    if scheme == GRPC_SCHEME:
        host, port = urlsplit(target).hostname, urlsplit(target).port
        if host and port:
            worker = Instance(WORKER, target, f"[{host}]" if ":" in host else host, 0, port)

            async def only() -> list[Instance]:
                return [worker]

            return GrpcJobs(only, token, on_wait)
    if scheme in RING_SCHEMES:
        from sage_platform import registry, subjects
        from sage_platform.kv import open_bucket
        from sage_platform.nats_connection import connect

        nats = load(NatsSettings, url=target)
        # A person waits for it; a service that starts beside NATS has more patience.
        seconds = min(nats.connect_timeout_seconds, NATS_SECONDS)
        connection = await connect(nats.model_copy(update={"connect_timeout_seconds": seconds}), name="jobs")

        async def registered() -> list[Instance]:
            bucket = await open_bucket(
                connection.jetstream(), subjects.BUCKET_SERVICES, ttl_seconds=registry.TTL_SECONDS
            )
            return await registry.list_instances(bucket)

        return GrpcJobs(registered, token, on_wait, connection.close)
    raise ConfigurationError(
        f"target {without_credentials(target)!r} is neither a gateway (http://host:8888), nor the server of a mesh "
        "(nats://host:4222), nor a dataflow worker (grpc://host:50056)"
    )
