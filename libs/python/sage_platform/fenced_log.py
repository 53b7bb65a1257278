"""A log on one subject of a stream, which one writer at a time appends to.

Each message says which one was the last before it, and the server refuses it where that is no longer so. A writer whose
place was taken therefore writes nothing more, however late it wakes up, as soon as its successor has written once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import NamedTuple

import tenacity
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.api import (
    DiscardPolicy,
    Header,
    RawStreamMsg,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
)
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, BadRequestError, NotFoundError

from sage_common.errors import ConflictError
from sage_platform.streams import ensure_stream

_WRONG_LAST_SEQUENCE = 10071
_NOT_STORED = 10077
PUBLISH_SECONDS = 5.0
# How long JetStream is tried while it does not answer: a server that is started again takes seconds.
PATIENCE_SECONDS = 10.0


class Logged(NamedTuple):
    """A message of a log: its sequence in the stream, and what it holds."""

    sequence: int
    data: bytes


class FencedLogError(ConflictError):
    """Another writer has appended to the log."""

    default_code = "log_fenced"


class LogFullError(NatsError):
    """The stream of the log is full, and takes no message of any log."""


async def ensure_log_stream(
    js: JetStreamContext, name: str, subject: str, *, max_age_seconds: float = 0.0, max_bytes: int = -1
) -> None:
    """Make a stream for logs where it is not there. Safe when several processes do it at once.

    Args:
        subject: matches the subjects of all its logs.
        max_age_seconds: after which a message is gone; 0 keeps it.
        max_bytes: beyond which it takes no more; -1 for no limit.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or refuses.
    """
    config = StreamConfig(
        name=name,
        subjects=[subject],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_age=max_age_seconds or None,
        max_bytes=max_bytes,
        allow_direct=True,
        compression=StoreCompression.S2,
    )
    await ensure_stream(js, config)


class FencedLog:
    """Writes one log.

    Args:
        after: sequence of the last message that this writer knows; 0 for an empty log.
    """

    def __init__(self, js: JetStreamContext, stream: str, subject: str, after: int = 0) -> None:
        self._js = js
        self._stream = stream
        self._subject = subject
        self._last = after

    async def append(self, data: bytes) -> int:
        """Store a message behind the last one; return its sequence.

        Raises:
            FencedLogError: another writer has stored one there.
            LogFullError: the stream is full; the message is not stored.
            nats.errors.MaxPayloadError: it is longer than ``longest_message``, and is not stored.
            nats.errors.Error, asyncio.TimeoutError: JetStream does not answer, or refuses. Whether the message is
                stored is then not known.
        """
        if len(data) > longest_message(self._js):
            # With its headers the server would end the connection for it.
            raise MaxPayloadError
        message_id = os.urandom(12).hex()
        async for attempt in until_jetstream_answers():
            with attempt:
                self._last = await self._publish(data, message_id)
        return self._last

    async def _publish(self, data: bytes, message_id: str) -> int:
        headers = {
            Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(self._last),
            Header.MSG_ID.value: message_id,
        }
        try:
            ack = await self._js.publish(
                self._subject, data, timeout=PUBLISH_SECONDS, stream=self._stream, headers=headers
            )
        except BadRequestError as error:
            if error.err_code != _WRONG_LAST_SEQUENCE:
                raise
            stored = await self._last_message()
            if stored is None or (stored.headers or {}).get(Header.MSG_ID.value) != message_id or stored.seq is None:
                raise FencedLogError(f"{self._subject} has another writer now") from None
            # An earlier try has stored it, and only its acknowledgement was lost.
            return stored.seq
        except APIError as error:
            if error.err_code == _NOT_STORED and "maximum" in (error.description or ""):
                raise LogFullError(f"{self._stream} is full ({error.description})") from None
            raise
        return int(ack.seq)

    async def _last_message(self) -> RawStreamMsg | None:
        try:
            return await self._js.get_last_msg(self._stream, self._subject, direct=True)
        except NotFoundError:
            return None


def until_jetstream_answers() -> tenacity.AsyncRetrying:
    """Return attempts at what can be done twice, for as long as a server takes to be started again.

    The last one's error is raised, and at once one that the next would meet too.
    """
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_may_pass),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=2.0),
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    """Whether the same message may be taken a moment later: not where it was refused for what it is."""
    passing = isinstance(error, (NatsError, asyncio.TimeoutError))
    return passing and not isinstance(error, (BadRequestError, LogFullError, MaxPayloadError))


async def read_log(js: JetStreamContext, stream: str, subject: str, after: int = 0) -> AsyncIterator[Logged]:
    """Yield the messages behind a sequence, one in memory at a time, until there is none.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: JetStream does not answer.
    """
    while True:
        try:
            message = await js.get_msg(stream, seq=after + 1, subject=subject, direct=True, next=True)
        except NotFoundError:
            return
        assert message.seq is not None
        after = message.seq
        yield Logged(after, message.data or b"")


async def drop_log(js: JetStreamContext, stream: str, subject: str) -> None:
    """Remove all messages of a log. Raises as ``read_log``."""
    await js.purge_stream(stream, subject=subject)


def longest_message(js: JetStreamContext) -> int:
    """Return how many bytes of data a message of a log may have, headers being left room for."""
    client = js._nc
    return max(4096, int(client.max_payload) - 4096)
