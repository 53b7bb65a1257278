"""The events of responses that are made in the background and streamed: a log each, which outlives who writes it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

from nats.errors import MaxPayloadError
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError as NoStreamError

from sage_common.errors import InvalidRequestError
from sage_gateway.responses.event_room import EventRoom
from sage_gateway.responses.response_store import ResponseStore
from sage_mesh import exact_json
from sage_platform import subjects
from sage_platform.fenced_log import (
    FencedLog,
    LogFullError,
    Logged,
    drop_log,
    ensure_log_stream,
    longest_message,
    read_log,
)
from sage_platform.opened_late import OpenedLate

# How long events can be read again, from when they were told.
KEPT_SECONDS = 24 * 3600.0
MOST_BYTES = 1024 * 1024 * 1024
# Between two looks for more, and how many of them find nothing before the response itself is looked at.
LOOK_SECONDS = 0.05
_IDLE_LOOKS = 20
_EVENT = re.compile(rb'event: (response\.[a-z_.]+)\ndata: \{"type":"[^"]+","sequence_number":(\d+)')
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
ITEM_DONE = "response.output_item.done"


class ToldEvent(NamedTuple):
    """One event as it is sent.

    Attributes:
        number: its ``sequence_number``.
    """

    kind: str
    number: int
    data: bytes

    @property
    def is_end(self) -> bool:
        """Whether no other follows."""
        return self.kind in _ENDS


class ResponseEvents:
    """Keeps the events. Every method raises nats.errors.Error or asyncio.TimeoutError without JetStream.

    Args:
        max_bytes: what those of all responses may take; where it is full, those of ended responses make way.
    """

    def __init__(self, js: JetStreamContext, store: ResponseStore, max_bytes: int = MOST_BYTES) -> None:
        self._js = js
        self._store = store
        self._max_bytes = max_bytes
        self._stream = OpenedLate(self._open)
        self._room = EventRoom(js, store.marks, max_bytes)

    async def log(self, tenant: str, response_id: str, after: int = 0) -> FencedLog:
        """Return what writes the events of a response behind the message ``after``."""
        await self._stream.get()
        subject = subjects.response_events(tenant, response_id)
        return FencedLog(self._js, subjects.RESPONSE_EVENTS_STREAM, subject, after)

    async def append(self, log: FencedLog, events: bytes) -> bool:
        """Append events to a log; return whether there is room for them all, and none is longer than a message.

        Raises FencedLogError.
        """
        for message in _messages(events, longest_message(self._js)):
            if not await self._append(log, message):
                return False
        return True

    async def _append(self, log: FencedLog, message: bytes) -> bool:
        try:
            await log.append(message)
        except MaxPayloadError:
            return False
        except LogFullError:
            if not await self._room.make():
                return False
            try:
                await log.append(message)
            except LogFullError:
                return False
        return True

    async def read(self, tenant: str, response_id: str, after: int = 0) -> AsyncIterator[Logged]:
        """Yield the messages behind one, each of whole events."""
        # Of a stream that is not there nobody answers, which reads as if JetStream did not.
        await self._stream.get()
        subject = subjects.response_events(tenant, response_id)
        try:
            async for message in read_log(self._js, subjects.RESPONSE_EVENTS_STREAM, subject, after):
                yield message
        except NoStreamError:
            return

    async def check(self, tenant: str, response_id: str) -> None:
        """Raise InvalidRequestError for a response without events."""
        async for _ in self.read(tenant, response_id):
            return
        raise InvalidRequestError(
            f"the response {response_id} has no events to stream: it was not made with 'background' and 'stream', or "
            "more than a day ago, or they made way for those of others; get it without 'stream'",
            code="response_not_streamed",
            param="stream",
        )

    async def drop(self, tenant: str, response_id: str) -> None:
        """Remove the events of a response."""
        await self._stream.get()
        await drop_log(self._js, subjects.RESPONSE_EVENTS_STREAM, subjects.response_events(tenant, response_id))

    async def follow(
        self, tenant: str, response_id: str, check: Callable[[], None] = lambda: None, *, after: int = -1
    ) -> AsyncIterator[bytes]:
        """Yield the events whose number is above ``after``, those to come too, until the response has ended.

        A response that has ended without saying so, since whoever made it was killed or it was cancelled, is told to
        have ended by what is stored of it.

        Args:
            check: called before each look; what it raises ends the stream, and not the response.
        """
        position, number, idle, closed = 0, -1, 0, False
        while True:
            check()
            async for message in self.read(tenant, response_id, position):
                check()
                position, idle = message.sequence, 0
                events = list(split_events(message.data))
                number = events[-1].number if events else number
                if fresh := b"".join([event.data for event in events if event.number > after]):
                    yield fresh
                if any(event.is_end for event in events):
                    return
            if closed or idle >= _IDLE_LOOKS:
                idle = 0
                stored = await self._store.find(tenant, response_id)
                if stored is None:
                    return
                if closed:
                    kind = f"response.{stored.value.status}"
                    if kind in _ENDS and number + 1 > after:
                        yield render_event(kind, number + 1, {"response": stored.value.document})
                    return
                # Its last events may have been told since the log was read.
                closed = not stored.value.is_open
                if closed:
                    await asyncio.sleep(_IDLE_LOOKS * LOOK_SECONDS)
                    continue
            idle += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def _open(self) -> None:
        await ensure_log_stream(
            self._js,
            subjects.RESPONSE_EVENTS_STREAM,
            subjects.RESPONSE_EVENTS_ALL,
            max_age_seconds=KEPT_SECONDS,
            max_bytes=self._max_bytes,
        )


def split_events(data: bytes) -> Iterator[ToldEvent]:
    """Yield the events that a message holds."""
    for piece in data.split(b"\n\n"):
        if found := _EVENT.match(piece):
            yield ToldEvent(found[1].decode(), int(found[2]), piece + b"\n\n")


def _messages(events: bytes, longest: int) -> Iterator[bytes]:
    """Yield events as messages: together, or one by one where they are too long for that.

    The end of an item stays with what follows it: as the last event of a message it says that the answer is complete.
    """
    if len(events) <= longest:
        yield events
        return
    held = b""
    for event in split_events(events):
        held += event.data
        if event.kind != ITEM_DONE:
            yield held
            held = b""
    if held:
        yield held


def render_event(kind: str, number: int, fields: dict[str, object]) -> bytes:
    """Return an event as it is sent."""
    value = {"type": kind, "sequence_number": number, **fields}
    return b"event: " + kind.encode() + b"\ndata: " + exact_json.write(value) + b"\n\n"
