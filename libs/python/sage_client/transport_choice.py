"""Which way a client takes to the mesh: by its target's scheme, over HTTP or on the ring."""

from __future__ import annotations

from urllib.parse import urlsplit

from sage_client.transport import Transport
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_common.secret_text import without_credentials
from sage_common.service_settings import NatsSettings

HTTP_SCHEMES = ("http", "https")
RING_SCHEMES = ("nats", "tls")
NATS_SECONDS = 2.0


async def open_transport(target: str, api_key: str, max_connections: int, *, key_was_given: bool) -> Transport:
    """Connect to a gateway or to the ring.

    Args:
        key_was_given: whether the caller named ``api_key`` rather than its settings.

    Raises:
        ConfigurationError: the target is neither, or an api_key is given for the ring.
        UnavailableError: no NATS server answers.
    """
    # The two ways pull in different libraries; each is imported when it is chosen.
    scheme = urlsplit(target).scheme
    if scheme in HTTP_SCHEMES:
        from sage_client.http import HttpTransport

        return HttpTransport(target, api_key=api_key, max_connections=max_connections)
    if scheme in RING_SCHEMES:
        if key_was_given:
            raise ConfigurationError(
                f"an api_key means nothing to the ring {without_credentials(target)}; leave it out, or name a gateway"
            )
        from sage_client.ring import open_ring_transport

        settings = load(NatsSettings, url=target)
        # A person waits for it; a service that starts beside NATS has more patience.
        seconds = min(settings.connect_timeout_seconds, NATS_SECONDS)
        return await open_ring_transport(settings.model_copy(update={"connect_timeout_seconds": seconds}))
    raise ConfigurationError(
        f"target {without_credentials(target)!r} is neither a gateway (http://host:8888) nor a ring (nats://host:4222)"
    )
