"""JetStream's streams, made where they are not there."""

from __future__ import annotations

from nats.js.api import StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import BadRequestError, NotFoundError


async def ensure_stream(js: JetStreamContext, config: StreamConfig) -> StreamConfig | None:
    """Make a stream where it is not there; return the settings of one that is, which stay as they are, and else None.

    Safe when several processes do it at once.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or refuses.
    """
    name = str(config.name)
    try:
        return (await js.stream_info(name)).config
    except NotFoundError:
        pass
    try:
        await js.add_stream(config)
    except BadRequestError:
        # Another process made it between the two calls; if not, this says what is wrong.
        await js.stream_info(name)
    return None
