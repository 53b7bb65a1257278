"""Says on a stream what requests have come to, before their callers see the end of their answers.

A message holds the events of one tenant, and everything that this gateway's requests of the tenant have come to by
meter. The last one tells whoever finds this gateway dead how much of what it held was spent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from operator import attrgetter
from typing import Any

import orjson
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import Header, PubAck, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_common.usage import UsageEvent
from sage_platform import subjects
from sage_platform.streams import ensure_stream

log = get_logger(__name__)

# Of tenants without limits nobody waits for the totals.
LAZY_SECONDS = 0.1
# How long an event waits for the acknowledgement of those before it, in order to leave with others.
TOGETHER_SECONDS = 0.005
# How long an answer's end may wait for its event to reach the server.
WRITTEN_SECONDS = 0.25
ACK_SECONDS = 5.0
AGAIN_SECONDS = 0.5
# The server drops a message that it has had within this time.
DUPLICATE_SECONDS = 120.0
KEPT_SECONDS = 35 * 86_400.0
# About ten million events.
KEPT_BYTES = 1024 * 1024 * 1024
MOST_EVENTS = 1_000
MOST_SUBJECTS = 10_000
# About 50 MB; beyond it, while JetStream is away, the oldest are given up.
MOST_MESSAGES_WAITING = 1_000
CALL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Message:
    id: str
    tenant: str
    events: list[UsageEvent]


class UsageJournal:
    """Publishes the events of one gateway.

    Args:
        replica: id of this gateway, which no other has had.
    """

    def __init__(self, connection: Client, replica: str) -> None:
        self._connection = connection
        self._js = connection.jetstream()
        self._replica = replica
        self._events: dict[str, list[UsageEvent]] = {}
        # Of every tenant with limits, the latest: a message that is sent again must not tell an older one last.
        self._totals: dict[str, Mapping[str, int]] = {}
        self._flush: asyncio.TimerHandle | asyncio.Handle | None = None
        self._written: asyncio.Future[None] | None = None
        self._subjects: dict[str, str] = {}
        self._count = 0
        # Messages that the server has not acknowledged yet.
        self._awaited = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._unsent: deque[_Message] = deque()
        self._resending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the stream where it is not there. Raises NatsError or TimeoutError."""
        config = StreamConfig(
            name=subjects.USAGE_STREAM,
            subjects=[subjects.USAGE_ALL],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=KEPT_SECONDS,
            max_bytes=KEPT_BYTES,
            duplicate_window=DUPLICATE_SECONDS,
            allow_direct=True,
        )
        await ensure_stream(self._js, config)

    async def stop(self) -> None:
        """Publish what is left."""
        self._send_all()
        if self._sending:
            await asyncio.wait(tuple(self._sending), timeout=ACK_SECONDS)
        try:
            await asyncio.wait_for(self._js.publish_async_completed(), ACK_SECONDS)
        except asyncio.TimeoutError:
            log.warning("usage events were published and not acknowledged")
        if self._resending is not None:
            await end_tasks(self._resending)
        if self._unsent:
            log.error("usage events are lost: JetStream did not take them", messages=len(self._unsent))

    def add(self, event: UsageEvent, totals: Mapping[str, int] | None) -> asyncio.Future[None] | None:
        """Publish an event soon; return what is done once the server has it, where that is to be waited for.

        Args:
            totals: what the requests of its tenant have come to by meter, the event's included; None for a tenant
                without limits, whose events may take their time.
        """
        self._events.setdefault(event.tenant, []).append(event)
        loop = asyncio.get_running_loop()
        if totals is None:
            if self._flush is None:
                self._flush = loop.call_later(LAZY_SECONDS, self._send_all)
            return None
        self._totals[event.tenant] = totals
        if self._written is None:
            written = self._written = loop.create_future()
            loop.call_later(WRITTEN_SECONDS, _release, written)
            if self._flush is not None:
                self._flush.cancel()
            if not self._awaited:
                self._send_all()
                return written
            # What ends while a message is on its way leaves together in the next one: each costs the server a write.
            self._flush = loop.call_later(TOGETHER_SECONDS, self._send_all)
        return self._written

    async def last_totals(self, replica: str, tenant: str) -> Mapping[str, int]:
        """Return the totals that a gateway has last published of a tenant. Raises NatsError or TimeoutError."""
        try:
            message = await asyncio.wait_for(
                self._js.get_last_msg(subjects.USAGE_STREAM, subjects.usage(replica, tenant)), CALL_SECONDS
            )
        except NotFoundError:
            return {}
        totals: dict[str, int] = orjson.loads(message.data or b"{}").get("totals", {})
        return totals

    def _send_all(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
        self._flush = None
        events, self._events = self._events, {}
        written, self._written = self._written, None
        messages = []
        for tenant, of_tenant in events.items():
            for first in range(0, len(of_tenant), MOST_EVENTS):
                self._count += 1
                messages.append(
                    _Message(f"{self._replica}.{self._count}", tenant, of_tenant[first : first + MOST_EVENTS])
                )
        task = asyncio.get_running_loop().create_task(self._send(messages, written))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, messages: list[_Message], written: asyncio.Future[None] | None) -> None:
        for message in messages:
            try:
                # The client writes it to its socket in the next turn of the loop, before anybody who waits for
                # ``written`` can have written anything to its own.
                taken = await self._published(message)
            except (NatsError, asyncio.TimeoutError):
                self._send_again(message)
                continue
            self._awaited += 1
            late = asyncio.get_running_loop().call_later(ACK_SECONDS, taken.cancel)
            taken.add_done_callback(partial(self._acknowledged, message, late))
        # Whoever waits for it goes on, whatever has become of it.
        if written is not None:
            _release(written)

    def _acknowledged(self, message: _Message, late: asyncio.TimerHandle, taken: asyncio.Future[PubAck]) -> None:
        late.cancel()
        self._awaited -= 1
        if taken.cancelled() or taken.exception() is not None:
            self._send_again(message)
        if not self._awaited and self._written is not None:
            self._send_all()

    async def _published(self, message: _Message) -> asyncio.Future[PubAck]:
        body: dict[str, Any] = {
            "totals": self._totals.get(message.tenant, {}),
            "events": [_fields(event) for event in message.events],
        }
        return await self._js.publish_async(
            self._subject(message.tenant),
            orjson.dumps(body),
            stream=subjects.USAGE_STREAM,
            headers={Header.MSG_ID.value: message.id},
        )

    def _subject(self, tenant: str) -> str:
        subject = self._subjects.get(tenant)
        if subject is None:
            if len(self._subjects) >= MOST_SUBJECTS:
                self._subjects.clear()
            subject = self._subjects[tenant] = subjects.usage(self._replica, tenant)
        return subject

    def _send_again(self, message: _Message) -> None:
        self._unsent.append(message)
        if len(self._unsent) > MOST_MESSAGES_WAITING:
            self._unsent.popleft()
            log.error("usage events are lost: too many wait for JetStream")
        if self._resending is None or self._resending.done():
            log.warning("usage events were not taken yet; publishing them again")
            self._resending = asyncio.get_running_loop().create_task(self._resend())

    async def _resend(self) -> None:
        while self._unsent:
            message = self._unsent.popleft()
            try:
                await asyncio.wait_for(await self._published(message), ACK_SECONDS)
            except (NatsError, asyncio.TimeoutError):
                self._unsent.appendleft(message)
                await asyncio.sleep(AGAIN_SECONDS)


def _release(written: asyncio.Future[None]) -> None:
    if not written.done():
        written.set_result(None)


# ``dataclasses.astuple`` copies, and takes fifty times as long.
_fields = attrgetter(*(field.name for field in fields(UsageEvent)))


def read_events(data: bytes) -> list[UsageEvent]:
    """Return the events of a message. Raises ValueError or TypeError for something else."""
    return [UsageEvent(*fields) for fields in orjson.loads(data)["events"]]
