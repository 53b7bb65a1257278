"""Subscription to a server's KV cache events over ZMQ, without gaps or with word of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_llm_coordinator.kv_cache.kv_events import FeedAddress, KvEvent, read_batch
from sage_platform.background import keep_running

log = get_logger(__name__)

# Its publisher looks for requests for a replay ten times a second.
REPLAY_SECONDS: Final = 5.0
_REPLAY_ENDS: Final = (-1).to_bytes(8, "big", signed=True)
# What is read at once before other work gets its turn.
BATCHES_AT_ONCE: Final = 64


class EventFeed:
    """Reads one server's events.

    Args:
        on_events: called with the events of each batch, in order.
        on_gap: called where events may be missing before those that come next: what was known holds no more.
        on_lost: called where the connection is lost: until the next event nothing is known.
    """

    def __init__(
        self,
        address: FeedAddress,
        on_events: Callable[[list[KvEvent]], None],
        on_gap: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._address = address
        self._on_events, self._on_gap, self._on_lost = on_events, on_gap, on_lost
        # The number that is due, and the last that came by itself; the latter only grows while the server is the same.
        self._next: int | None = None
        self._live: int | None = None
        self._reading = asyncio.Lock()
        self._decode = msgspec.msgpack.Decoder().decode

    async def run(self) -> None:
        """Read until cancelled. A server that is away is waited for. Raises ZMQError for an address that is none."""
        context = zmq.asyncio.Context()
        try:
            subscriber = context.socket(zmq.SUB)
            subscriber.setsockopt(zmq.LINGER, 0)
            subscriber.setsockopt(zmq.RCVHWM, 100_000)
            subscriber.subscribe(b"")
            monitor = subscriber.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            subscriber.connect(self._address.events)
            watching = keep_running(lambda: self._watch(monitor, context), name="kv-events-connection")
            try:
                await self._read(subscriber, context, watching)
            finally:
                await end_tasks(watching)
                subscriber.disable_monitor()
        finally:
            context.destroy(linger=0)

    async def _watch(self, monitor: zmq.asyncio.Socket, context: zmq.asyncio.Context) -> None:
        while True:
            event = await recv_monitor_message(monitor)
            async with self._reading:
                if event["event"] == zmq.EVENT_DISCONNECTED:
                    # Who comes back may be another server, which counts from 0 again.
                    self._next = self._live = None
                    self._on_lost()
                elif self._next is None:
                    await self._replay(context, 0)

    async def _read(
        self, subscriber: zmq.asyncio.Socket, context: zmq.asyncio.Context, watching: asyncio.Task[None]
    ) -> None:
        taken = 0
        while not watching.done():
            parts = await subscriber.recv_multipart()
            async with self._reading:
                await self._take(parts, context)
            taken += 1
            if taken % BATCHES_AT_ONCE == 0:
                await asyncio.sleep(0)
        await watching

    async def _take(self, parts: list[bytes], context: zmq.asyncio.Context) -> None:
        sequence, payload = int.from_bytes(parts[-2], "big"), parts[-1]
        if self._live is not None and sequence <= self._live:
            self._next = None  # another server
        self._live = sequence
        if self._next is None or sequence > self._next:
            await self._replay(context, self._next or 0)
        if self._next is None or sequence >= self._next:
            self._apply(sequence, payload)

    def _apply(self, sequence: int, payload: bytes) -> None:
        due = self._next
        if due != sequence and (due is not None or sequence):
            self._on_gap()
        try:
            events = read_batch(self._decode(payload))
        except (ValueError, TypeError, msgspec.DecodeError) as error:
            log.warning("KV cache events not understood", address=self._address.events, error=str(error))
            self._on_gap()
            events = []
        self._next = sequence + 1
        self._on_events(events)

    async def _replay(self, context: zmq.asyncio.Context, start: int) -> None:
        """Have the server repeat its events from ``start`` on, as far as it still has them."""
        if not self._address.replay:
            return
        taken = 0
        with contextlib.suppress(asyncio.TimeoutError):
            async for sequence, payload in _replayed(context, self._address.replay, start):
                if self._next is None or sequence >= self._next:
                    self._apply(sequence, payload)
                taken += 1
                if taken % BATCHES_AT_ONCE == 0:
                    await asyncio.sleep(0)


async def _replayed(context: zmq.asyncio.Context, address: str, start: int) -> AsyncIterator[tuple[int, bytes]]:
    """Yield what a server repeats. Raises asyncio.TimeoutError where it does not answer."""
    requester: Any = context.socket(zmq.DEALER)
    try:
        requester.setsockopt(zmq.LINGER, 0)
        requester.connect(address)
        await requester.send_multipart([b"", start.to_bytes(8, "big")])
        while True:
            parts = await asyncio.wait_for(requester.recv_multipart(), REPLAY_SECONDS)
            # Before 0.2x without a topic in front.
            number, payload = parts[-2], parts[-1]
            if number == _REPLAY_ENDS:
                return
            yield int.from_bytes(number, "big"), payload
    finally:
        requester.close(0)
