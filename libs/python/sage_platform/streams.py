"""JetStream's streams, made where they are not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import tenacity
from nats.js.api import StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, BadRequestError, NotFoundError

from sage_common.logging import get_logger
from sage_platform.identity_subjects import identity_of
from sage_platform.mesh_tls.nats_rights import may_make
from sage_platform.nats_cluster import copies_on

log = get_logger(__name__)

_LOOK_AGAIN_SECONDS = 0.05
# The services that make them start at the same time, and so do the servers of a cluster.
_MADE_SECONDS = 20.0
# The server's code for: not as many servers of the cluster are there as are to keep it.
_PEERS_AWAY = 10005
_PEERS_SECONDS = 0.25


async def until_made(js: JetStreamContext, name: str) -> None:
    """Return once another has made a stream that this process's certificate does not let it make.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or nobody has made it.
    """
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(NotFoundError),
        wait=tenacity.wait_fixed(_LOOK_AGAIN_SECONDS),
        stop=tenacity.stop_after_delay(_MADE_SECONDS),
        reraise=True,
    ):
        with attempt:
            await js.stream_info(name)


async def make(name: str, create: Callable[[], Awaitable[object]]) -> None:
    """Make a stream, once so many servers of a cluster are there as are to keep it.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or refuses.
    """
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(are_peers_away),
        wait=tenacity.wait_fixed(_PEERS_SECONDS),
        stop=tenacity.stop_after_delay(_MADE_SECONDS),
        before_sleep=lambda state: (
            log.warning("waiting for servers of the NATS cluster", stream=name) if state.attempt_number == 1 else None
        ),
        reraise=True,
    ):
        with attempt:
            await create()


def are_peers_away(error: BaseException) -> bool:
    """Whether a stream was not made because too few servers of the cluster are there."""
    return isinstance(error, APIError) and error.err_code == _PEERS_AWAY


async def keep_copies(js: JetStreamContext, existing: StreamConfig) -> None:
    """Have as many servers keep a stream as the cluster is meant to have; fewer did where it was made by one server.

    What the servers refuse is logged: the stream does its work with the copies that it has.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer.
    """
    wanted, name = copies_on(js._nc), str(existing.name)
    if (existing.num_replicas or 1) >= wanted or not may_make(identity_of(js._nc), name):
        return
    try:
        await js.update_stream(existing, num_replicas=wanted)
    except APIError as error:
        log.warning("stream has fewer copies than servers", stream=name, copies=existing.num_replicas, error=str(error))


async def ensure_stream(js: JetStreamContext, config: StreamConfig) -> StreamConfig | None:
    """Make a stream where it is not there; return the settings of one that is, which stay as they are, and else None.

    Safe when several processes do it at once.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or refuses.
    """
    name = str(config.name)
    try:
        found = (await js.stream_info(name)).config
    except NotFoundError:
        pass
    else:
        await keep_copies(js, found)
        return found
    if not may_make(identity_of(js._nc), name):
        await until_made(js, name)
        return None
    try:
        await make(name, lambda: js.add_stream(config, num_replicas=copies_on(js._nc)))
    except BadRequestError as error:
        if are_peers_away(error):
            raise
        # Another process made it between the two calls; if not, this says what is wrong.
        await js.stream_info(name)
    return None
