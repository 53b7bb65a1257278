"""Connecting to NATS, and staying connected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import tenacity
from nats.aio.client import Client
from nats.errors import NoServersError

from sage_common.errors import UnauthenticatedError, UnavailableError
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
        UnauthenticatedError: the server does not take the credentials that are set.
    """
    denials: list[Exception] = []

    async def on_error(error: Exception) -> None:
        log.warning("nats error", error=str(error) or repr(error))

    async def on_disconnect() -> None:
        if client.is_draining or client.is_closed:
            return  # our own doing
        log.warning("nats disconnected; reconnecting", url=settings.shown_url)

    async def reconnected() -> None:
        log.info("nats reconnected", url=settings.shown_url)
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
            with attempt, _denied(denials, settings), _remembering(refusals):
                # nats-py waits for a server that takes the connection and says nothing several times over.
                await asyncio.wait_for(
                    client.connect(
                        servers=settings.url.split(","),
                        name=name,
                        # Asked for at each connection: a mesh that is brought up again has another.
                        token=settings.current_token if "@" not in settings.url else None,
                        error_cb=_quiet_until_connected(client, on_error, denials),
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
    except UnauthenticatedError:
        await client.close()
        raise
    except (OSError, NoServersError, asyncio.TimeoutError):
        await client.close()
        raise UnavailableError(
            f"no NATS server answers at {settings.shown_url} ({refusals[-1] if refusals else 'no answer'}); "
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


@contextlib.contextmanager
def _denied(denials: list[Exception], settings: NatsSettings) -> Iterator[None]:
    """Turn the end of an attempt into an UnauthenticatedError where the server has said that it refuses us."""
    try:
        yield
    except NoServersError:
        if not denials:
            raise
        raise UnauthenticatedError(
            f"the NATS server at {settings.shown_url} does not take the token or password that is set, or asks for "
            "one; set SAGE_NATS_TOKEN_FILE to the file that holds it. A server that `sage up` has started for another "
            "user is that user's",
            code="nats_refused",
        ) from None


def _quiet_until_connected(
    client: Client, on_error: Callable[[Exception], Awaitable[None]], denials: list[Exception]
) -> Callable[[Exception], Awaitable[None]]:
    async def callback(error: Exception) -> None:
        if client.is_connected or client.is_reconnecting:
            await on_error(error)
        elif "authorization" in str(error).lower():
            denials.append(error)

    return callback
