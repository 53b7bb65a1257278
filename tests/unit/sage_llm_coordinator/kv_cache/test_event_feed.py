"""Events over real ZMQ: in order, without gaps or with word of them, through a server's restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.eventually import eventually

zmq_asyncio = pytest.importorskip("zmq.asyncio")
msgspec = pytest.importorskip("msgspec")

import zmq  # noqa: E402

from sage_common.tasks import end_tasks  # noqa: E402
from sage_llm_coordinator.kv_cache.event_feed import EventFeed  # noqa: E402
from sage_llm_coordinator.kv_cache.kv_events import BlocksRemoved, FeedAddress, KvEvent  # noqa: E402


class Publisher:
    """Publishes and repeats as vLLM does."""

    def __init__(self, address: FeedAddress, kept: int = 100) -> None:
        self._context = zmq_asyncio.Context()
        self._events = self._context.socket(zmq.XPUB)
        self._events.bind(address.events)
        self._replay = self._context.socket(zmq.ROUTER)
        self._replay.bind(address.replay)
        self._kept = kept
        self.sent: list[bytes] = []
        self.replays = 0
        self._answering = asyncio.create_task(self._answer())

    async def subscribed(self) -> None:
        assert await self._events.recv() == b"\x01"

    async def publish(self, name: int, *, lost: bool = False) -> None:
        payload = msgspec.msgpack.encode([0.0, [{"type": "BlockRemoved", "block_hashes": [name], "medium": "GPU"}], 0])
        self.sent.append(payload)
        if not lost:
            number = (len(self.sent) - 1).to_bytes(8, "big")
            await self._events.send_multipart([b"", number, payload])

    async def _answer(self) -> None:
        while True:
            client, _, start = await self._replay.recv_multipart()
            self.replays += 1
            first = max(len(self.sent) - self._kept, int.from_bytes(start, "big"))
            for number in range(first, len(self.sent)):
                await self._replay.send_multipart([client, b"", b"", number.to_bytes(8, "big"), self.sent[number]])
            await self._replay.send_multipart([client, b"", b"", (-1).to_bytes(8, "big", signed=True), b""])

    async def close(self) -> None:
        await end_tasks(self._answering)
        self._context.destroy(linger=0)


class Heard:
    """What the feed said, in order: names of removed blocks, gaps and losses."""

    def __init__(self) -> None:
        self.said: list[int | str] = []

    def events(self, events: list[KvEvent]) -> None:
        for event in events:
            assert isinstance(event, BlocksRemoved)
            self.said += [block for block in event.blocks if isinstance(block, int)]

    def feed(self, address: FeedAddress) -> EventFeed:
        return EventFeed(address, self.events, lambda: self.said.append("gap"), lambda: self.said.append("lost"))


@pytest.fixture
def address(tmp_path: Path) -> FeedAddress:
    return FeedAddress(f"ipc://{tmp_path}/events", f"ipc://{tmp_path}/replay")


@pytest.fixture
async def heard(address: FeedAddress) -> AsyncIterator[Heard]:
    made = Heard()
    reading = asyncio.create_task(made.feed(address).run())
    yield made
    await end_tasks(reading)


async def says(heard: Heard, *expected: Any) -> None:
    await eventually(lambda: len(heard.said) >= len(expected))
    assert heard.said == list(expected)


async def test_what_was_published_before_is_repeated_and_what_is_missed_too(address: FeedAddress, heard: Heard) -> None:
    publisher = Publisher(address)
    await publisher.publish(1, lost=True)
    await publisher.publish(2, lost=True)
    await publisher.subscribed()
    await says(heard, 1, 2)
    await publisher.publish(3)
    await publisher.publish(4, lost=True)
    await publisher.publish(5)
    await says(heard, 1, 2, 3, 4, 5)
    await publisher.close()


async def test_what_is_not_repeated_any_more_is_a_gap(address: FeedAddress, heard: Heard) -> None:
    publisher = Publisher(address, kept=1)
    await publisher.subscribed()
    await publisher.publish(1)
    await says(heard, 1)
    await publisher.publish(2, lost=True)
    await publisher.publish(3, lost=True)
    await publisher.publish(4)
    await says(heard, 1, "gap", 4)
    await publisher.close()


async def test_a_server_that_goes_is_lost_and_the_one_that_comes_counts_from_its_beginning(
    address: FeedAddress, heard: Heard
) -> None:
    publisher = Publisher(address)
    await publisher.subscribed()
    for name in (1, 2, 3):
        await publisher.publish(name)
    await says(heard, 1, 2, 3)
    await publisher.close()
    await says(heard, 1, 2, 3, "lost")
    publisher = Publisher(address)
    await publisher.publish(7, lost=True)
    await publisher.subscribed()
    await publisher.publish(8)
    await says(heard, 1, 2, 3, "lost", 7, 8)
    await publisher.close()


async def test_without_a_replay_a_gap_is_told_and_what_cannot_be_read_is_one(tmp_path: Path) -> None:
    address = FeedAddress(f"ipc://{tmp_path}/events", f"ipc://{tmp_path}/replay")
    heard = Heard()
    reading = asyncio.create_task(heard.feed(FeedAddress(address.events)).run())
    publisher = Publisher(address)
    await publisher.subscribed()
    await publisher.publish(1)
    await publisher.publish(2, lost=True)
    await publisher.publish(3)
    await says(heard, 1, "gap", 3)
    publisher.sent.append(b"")
    await publisher._events.send_multipart([b"", (3).to_bytes(8, "big"), b"\xc1 no msgpack"])
    await publisher.publish(5)
    await says(heard, 1, "gap", 3, "gap", 5)
    assert publisher.replays == 0
    await publisher.close()
    await end_tasks(reading)
