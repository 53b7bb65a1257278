"""Connecting to NATS, and staying connected."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import tenacity
from nats.aio.client import Client
from nats.errors import NoServersError

from sage_common.errors import UnauthenticatedError, UnavailableError
from sage_common.logging import get_logger
from sage_common.service_settings import NatsSettings
from sage_common.tls_settings import TlsFiles, configured_tls, internal_name, own_servers, own_tls
from sage_platform.bind_address import is_loopback
from sage_platform.identity_subjects import inbox_prefix
from sage_platform.nats_cluster import GIVEN_SERVERS

log = get_logger(__name__)

# While disconnected, this much is kept for sending later; beyond it a send fails at once.
BUFFER_WHILE_DISCONNECTED_BYTES = 8 * 1024 * 1024
CLOSE_SECONDS = 0.5
# Of a URL that names none.
NATS_PORT = 4222
PING_SECONDS = 5
CLUSTER_PING_SECONDS = 0.5


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
        ConfigurationError: the certificate that is set cannot be read.
    """
    servers = settings.url.split(",")
    known = names_own_server(servers)
    tls = configured_tls() or (own_tls(required=known) if known or settings.is_loopback else None)
    denials: list[Exception] = []

    async def on_error(error: Exception) -> None:
        log.warning("nats error", error=str(error) or repr(error))

    async def on_disconnect() -> None:
        if client.is_draining or client.is_closed:
            return  # our own doing
        log.warning("nats disconnected; reconnecting", url=settings.shown_url)
        if tls is not None:
            # It may have been renewed since; the connection to come shows what is there then.
            with contextlib.suppress(OSError):
                client.options["tls"].load_cert_chain(tls.certificate, tls.key)

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
                        servers=servers,
                        name=name,
                        # Asked for at each connection: a mesh that is brought up again has another.
                        token=settings.current_token if "@" not in settings.url else None,
                        error_cb=_quiet_until_connected(client, on_error, denials, settings),
                        disconnected_cb=on_disconnect,
                        reconnected_cb=reconnected,
                        allow_reconnect=True,
                        # With no limit the first connection would be tried for ever, inside nats-py.
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0.1,  # type: ignore[arg-type]  # it is slept, so a fraction works
                        connect_timeout=2,
                        # Where there is another server to go to, one that says nothing is left soon; and the one that
                        # is listed first, this machine's own where it has one, is taken first.
                        ping_interval=PING_SECONDS if len(servers) == 1 else CLUSTER_PING_SECONDS,  # type: ignore[arg-type]
                        dont_randomize=True,
                        max_outstanding_pings=2,
                        pending_size=BUFFER_WHILE_DISCONNECTED_BYTES,
                        flush_timeout=5,
                        **_secured(tls),
                    ),
                    max(0.05, deadline - asyncio.get_running_loop().time()),
                )
    except UnauthenticatedError:
        await _close(client)
        raise
    except (OSError, NoServersError, asyncio.TimeoutError):
        await _close(client)
        raise UnavailableError(
            f"no NATS server answers at {settings.shown_url} ({refusals[-1] if refusals else 'no answer'}); "
            "`sage up` starts one, or set SAGE_NATS_URL to yours",
            code="nats_unreachable",
        ) from None
    client.options |= {"max_reconnect_attempts": -1, GIVEN_SERVERS: len(servers)}
    return client


def names_own_server(urls: Iterable[str]) -> bool:
    """Whether one of ``urls`` is a server of this user's mesh of several machines, by whatever name it is called."""
    own = {_place(url) for url in own_servers()}
    return not own.isdisjoint(map(_place, urls))


def _place(url: str) -> tuple[str, int]:
    """Return the host and the port that a URL names; the names of this machine's loopback are one."""
    parts = urlsplit(url.strip())
    host = parts.hostname or ""
    try:
        port = NATS_PORT if parts.port is None else parts.port
    except ValueError:
        # Of no server; connecting says so.
        port = 0
    return "localhost" if is_loopback(host) else host, port


async def _close(client: Client) -> None:
    """Close what did not connect. A transport whose TLS handshake has failed never says that it is closed."""
    with contextlib.suppress(asyncio.TimeoutError, OSError):
        await asyncio.wait_for(client.close(), CLOSE_SECONDS)


def _secured(tls: TlsFiles | None) -> dict[str, Any]:
    """Return the options of a connection with a certificate."""
    if tls is None:
        return {}
    return {
        "tls": tls.client_context(),
        # The certificate is the server's, whatever address it is reached at.
        "tls_hostname": internal_name("nats"),
        # A server that first has to ask for TLS could be talked out of it by whoever is between.
        "tls_handshake_first": tls.required,
        "inbox_prefix": inbox_prefix(tls.identity),
    }


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
    client: Client,
    on_error: Callable[[Exception], Awaitable[None]],
    denials: list[Exception],
    settings: NatsSettings,
) -> Callable[[Exception], Awaitable[None]]:
    async def callback(error: Exception) -> None:
        # While it reconnects, it is connecting for some moments. What is raised then would end its reconnecting for
        # ever, and a server that is left behind in the middle of a message has an SSLError, too.
        if client.is_connected or client.is_reconnecting or GIVEN_SERVERS in client.options:
            await on_error(error)
        elif isinstance(error, ssl.SSLError):
            # From here it reaches whoever connects; nats-py would wait for the server's greeting.
            raise _certificate_refused(error, settings)
        elif "authorization" in str(error).lower():
            denials.append(error)

    return callback


def _certificate_refused(error: ssl.SSLError, settings: NatsSettings) -> UnauthenticatedError:
    """Return what it means that one side does not accept the other's certificate."""
    reason = getattr(error, "verify_message", "") or str(error)
    return UnauthenticatedError(
        f"the NATS server at {settings.shown_url} and this process do not accept each other's certificate ({reason}); "
        "set SAGE_TLS_FOLDER to the folder of an identity that `sage mesh secure` has made for this mesh: it "
        "says which certificates end, too",
        code="certificate_refused",
    )
