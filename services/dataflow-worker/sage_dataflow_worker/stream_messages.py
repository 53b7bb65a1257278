"""Reading messages of a stream in order, without a consumer for each reader."""

from __future__ import annotations

from collections.abc import AsyncIterator

from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError as NoMessageError


async def messages_behind(
    js: JetStreamContext, stream: str, subject: str, after: int
) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the sequence and the content of what is stored on ``subject`` behind the sequence ``after``.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or there is no such stream.
    """
    while True:
        try:
            message = await js.get_msg(stream, seq=after + 1, subject=subject, next=True)
        except NoMessageError:
            return
        after = int(message.seq or 0)
        yield after, message.data or b""
