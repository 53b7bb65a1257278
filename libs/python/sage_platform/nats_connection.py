"""Connecting to NATS, and staying connected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

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
    refusals: list[Exception] = []
    deadline = asyncio.get_running_loop().time() + settings.connect_timeout_seconds
    attempts = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_delay(settings.connect_timeout_seconds),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
        retry=tenacity.retry_if_exception_type((OSError, NoServersError, asyncio.TimeoutError)),
        reraise=True,
    )
    try:
        async for attempt in attempts:
            with attempt, _remembering(refusals):
                # nats-py waits for a server that takes the connection and says nothing several times over.
                await asyncio.wait_for(
                    client.connect(
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
                    ),
                    max(0.05, deadline - asyncio.get_running_loop().time()),
                )
    except (OSError, NoServersError, asyncio.TimeoutError):
        await client.close()
        raise UnavailableError(
            f"no NATS server answers at {settings.url} ({refusals[-1] if refusals else 'no answer'}); "
            "`sage up` starts one, or set SAGE_NATS_URL to yours",
            code="nats_unreachable",
        ) from None
    client.options["max_reconnect_attempts"] = -1
    return client


@contextlib.contextmanager
def _remembering(refusals: list[Exception]) -> Iterator[None]:
    """Keep what a server's machine said: the last try is cut short by the time limit, which says less."""
    try:
        yield
    except (OSError, NoServersError) as error:
        if not isinstance(error, asyncio.TimeoutError):
            refusals.append(error)
        raise


def _quiet_until_connected(
    client: Client, on_error: Callable[[Exception], Awaitable[None]]
) -> Callable[[Exception], Awaitable[None]]:
    async def callback(error: Exception) -> None:
        if client.is_connected or client.is_reconnecting:
            await on_error(error)

    return callback
