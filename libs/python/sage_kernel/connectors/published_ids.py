"""The ids of what was published since a checkpoint, read back from the streams.

JetStream itself leaves out an id that comes again within two minutes. A job may be resumed after days.
"""

from __future__ import annotations

from collections.abc import Mapping

from nats.aio.client import Client

from sage_common.errors import NotFoundError
from sage_kernel.connectors.jetstream import stream_state
from sage_kernel.connectors.stream_reader import ConsumerLostError, StreamReader

MESSAGE_ID = "Nats-Msg-Id"
_LOOK_SECONDS = 1.0


async def published_since(client: Client, positions: Mapping[str, int], subject: str) -> set[str]:
    """Return the ids of the messages on ``subject`` behind ``positions``, by stream.

    Raises:
        UnavailableError: JetStream does not answer.
        NotFoundError: a stream is gone, and with it what was published.
    """
    ids: set[str] = set()
    for stream, after in positions.items():
        while True:
            try:
                ids |= await _read(client, stream, after, subject)
                break
            except ConsumerLostError:
                continue
    return ids


async def _read(client: Client, stream: str, after: int, subject: str) -> set[str]:
    ids: set[str] = set()
    until = (await stream_state(client, stream)).last
    if until <= after:
        return ids
    reader = StreamReader(client, stream, [subject], after + 1, headers_only=True)
    try:
        pending = await reader.open()
        while pending:
            messages = await reader.fetch(_LOOK_SECONDS)
            for message in messages:
                if message.headers is not None and MESSAGE_ID in message.headers:
                    ids.add(message.headers[MESSAGE_ID])
            if messages:
                pending = messages[-1].pending
            elif await reader.has_caught_up():
                break
    except NotFoundError as error:
        raise NotFoundError(f"the stream {stream} was deleted ({error.message})") from None
    finally:
        await reader.close()
    return ids
