"""Connecting to NATS, and staying connected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import nats
import tenacity
from nats.aio.client import Client
from nats.errors import NoServersError

from sage_common.errors import UnavailableError
from sage_common.logging import get_logger
from sage_common.service_settings import NatsSettings

log = get_logger(__name__)

# While disconnected, this much is kept for sending later; beyond it a send fails at once.
BUFFER_WHILE_DISCONNECTED_BYTES = 8 * 1024 * 1024


async def connect(
    settings: NatsSettings,
    *,
    name: str,
    on_reconnect: Callable[[], Awaitable[None]] | None = None,
) -> Client:
    """Connect to NATS and reconnect for ever after.

    Args:
        name: shown by the server's monitoring.
        on_reconnect: awaited after each reconnection.

    Raises:
        UnavailableError: no server answered within ``connect_timeout_seconds``.
    """

    async def on_error(error: Exception) -> None:
        log.warning("nats error", error=str(error) or repr(error))

    async def on_disconnect() -> None:
        if client.is_draining or client.is_closed:
            return  # our own doing
        log.warning("nats disconnected; reconnecting", url=settings.url)

    async def reconnected() -> None:
        log.info("nats reconnected", url=settings.url)
        if on_reconnect is not None:
            await on_reconnect()

    client = Client()
    attempts = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_delay(settings.connect_timeout_seconds),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
        retry=tenacity.retry_if_exception_type((OSError, NoServersError, nats.errors.TimeoutError)),
        reraise=True,
    )
    try:
        async for attempt in attempts:
            with attempt:
                await client.connect(
                    servers=settings.url.split(","),
                    name=name,
                    error_cb=_quiet_until_connected(client, on_error),
                    disconnected_cb=on_disconnect,
                    reconnected_cb=reconnected,
                    allow_reconnect=True,
                    # With no limit the first connection would be tried for ever, inside nats-py.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0.1,  # type: ignore[arg-type]  # it is slept, so a fraction works
                    connect_timeout=2,
                    ping_interval=5,
                    max_outstanding_pings=2,
                    pending_size=BUFFER_WHILE_DISCONNECTED_BYTES,
                    flush_timeout=5,
                )
    except (OSError, NoServersError, nats.errors.TimeoutError) as error:
        raise UnavailableError(
            f"no NATS server answers at {settings.url} ({error or type(error).__name__}); "
            "`sage up` starts one, or set SAGE_NATS_URL to yours",
            code="nats_unreachable",
        ) from None
    client.options["max_reconnect_attempts"] = -1
    return client


def _quiet_until_connected(
    client: Client, on_error: Callable[[Exception], Awaitable[None]]
) -> Callable[[Exception], Awaitable[None]]:
    async def callback(error: Exception) -> None:
        if client.is_connected or client.is_reconnecting:
            await on_error(error)

    return callback
