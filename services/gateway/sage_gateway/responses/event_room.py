"""Room for the events of responses: those of responses that have ended make way, the oldest first."""

from __future__ import annotations

import asyncio

from nats.js.api import RawStreamMsg
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from sage_common.logging import get_logger
from sage_platform import subjects
from sage_platform.fenced_log import drop_log
from sage_platform.kv import read_records
from sage_platform.open_marks import OpenMarks, decode_mark

log = get_logger(__name__)

# How much is made free at once, as a share of all, so that not every event has to make its own room.
FREED_SHARE = 0.125
# Messages looked at in one go; what open responses have told is passed over one by one. The next look goes on behind.
MOST_LOOKS = 5000
# Where there was nothing to drop, it is not looked for again at once.
PAUSE_SECONDS = 5.0


class EventRoom:
    """Drops the events of responses that have ended. What became of those is stored with the response itself.

    Args:
        max_bytes: what the stream of all events holds.
    """

    def __init__(self, js: JetStreamContext, marks: OpenMarks, max_bytes: int) -> None:
        self._js = js
        self._marks = marks
        self._most_bytes = int(max_bytes * (1.0 - FREED_SHARE))
        self._lock = asyncio.Lock()
        self._pause_until = 0.0
        # Sequence of the last message that was looked at.
        self._looked_at = 0

    async def make(self) -> bool:
        """Make room; return whether there is any.

        Raises:
            nats.errors.Error, asyncio.TimeoutError: JetStream does not answer.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now < self._pause_until:
                return False
            dropped, came_round = await self._drop_ended()
            if dropped:
                log.warning("events of responses that have ended made way for others", responses=dropped)
            if await self._is_free():
                return True
            if came_round:
                self._pause_until = now + PAUSE_SECONDS
            return dropped > 0

    async def _is_free(self) -> bool:
        state = (await self._js.stream_info(subjects.RESPONSE_EVENTS_STREAM)).state
        return state.bytes <= self._most_bytes

    async def _drop_ended(self) -> tuple[int, bool]:
        """Drop until enough is free; return of how many responses, and whether the last message was come to."""
        last = (await self._js.stream_info(subjects.RESPONSE_EVENTS_STREAM)).state.last_seq
        # A response is marked before its first event, so of those up to the last one now none is open without a mark.
        marks = await read_records(await self._marks.bucket.get(), decode_mark)
        still_open = {subjects.response_events(mark.tenant, mark.record_id) for mark in marks.values()}
        dropped, came_round, from_beginning = 0, False, self._looked_at == 0
        for _ in range(MOST_LOOKS):
            message = await self._next_message()
            if message is None or message.seq is None or message.seq > last:
                self._looked_at, came_round = 0, True
                if from_beginning:
                    break
                # Those at the beginning may have ended since they were looked at.
                from_beginning = True
                continue
            self._looked_at = message.seq
            assert message.subject is not None
            if message.subject in still_open:
                continue
            await drop_log(self._js, subjects.RESPONSE_EVENTS_STREAM, message.subject)
            dropped += 1
            if await self._is_free():
                break
        return dropped, came_round

    async def _next_message(self) -> RawStreamMsg | None:
        """Return the message behind the last one that was looked at; None where there is none."""
        try:
            return await self._js.get_msg(
                subjects.RESPONSE_EVENTS_STREAM,
                seq=self._looked_at + 1,
                subject=subjects.RESPONSE_EVENTS_ALL,
                direct=True,
                next=True,
            )
        except NotFoundError:
            return None
