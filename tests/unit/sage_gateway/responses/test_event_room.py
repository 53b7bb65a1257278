"""A store of events that is full, on a real nats-server: who makes way, and what becomes of responses without room."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fixtures.nats import start_nats
from nats.js.client import JetStreamContext

from sage_common.service_settings import NatsSettings
from sage_gateway.responses import event_room
from sage_gateway.responses.event_room import EventRoom
from sage_gateway.responses.response_events import ITEM_DONE, ResponseEvents, render_event, split_events
from sage_gateway.responses.response_store import ResponseStore
from sage_gateway.responses.stored_response import StoredResponse, new_response_id
from sage_gateway.responses.taken_up import Telling
from sage_platform.nats_connection import connect

MAX_BYTES = 64 * 1024
# Four logs of these fill it. Random, so that compression does not make them less.
EVENT_CHARACTERS = 15_000
# One of these fits in a message, two do not.
MAX_PAYLOAD = 32 * 1024


class Room:
    """A small store of events and the responses that they are of."""

    def __init__(self, js: JetStreamContext, store: ResponseStore, events: ResponseEvents) -> None:
        self.js = js
        self.store = store
        self.events = events

    async def begin(self, tenant: str = "t") -> tuple[str, Telling]:
        """An open response with nothing told."""
        response_id = new_response_id()
        await self.store.marks.set(tenant, response_id)
        document = {"id": response_id, "status": "in_progress", "model": "m"}
        await self.store.add(StoredResponse(response_id, tenant, document, [], ()))
        return response_id, await self._telling(tenant, response_id)

    async def _telling(self, tenant: str, response_id: str) -> Telling:
        return await Telling.take_up(self.events, await self.store.get(tenant, response_id))

    async def end(self, response_id: str, tenant: str = "t") -> None:
        def ended(current: StoredResponse) -> StoredResponse:
            return StoredResponse(current.id, current.tenant, {**current.document, "status": "completed"}, [], ())

        await self.store.change(tenant, response_id, ended)
        await self.store.marks.remove(tenant, response_id)

    async def told(self, response_id: str, tenant: str = "t") -> int:
        return len(await self.numbers(response_id, tenant))

    async def numbers(self, response_id: str, tenant: str = "t") -> list[list[int]]:
        """The numbers of the events that each message holds."""
        return [
            [event.number for event in split_events(message.data)]
            async for message in self.events.read(tenant, response_id)
        ]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    server = start_nats(tmp_path, max_payload=MAX_PAYLOAD)
    try:
        connection = await connect(NatsSettings(url=server.url), name="test")
        js = connection.jetstream()
        store = ResponseStore(js, 1.0)
        yield Room(js, store, ResponseEvents(js, store, MAX_BYTES))
        await connection.close()
    finally:
        server.stop()


def event(number: int) -> bytes:
    return render_event(
        "response.output_text.delta", number, {"delta": random.Random(number).randbytes(EVENT_CHARACTERS // 2).hex()}
    )


async def test_the_events_of_the_oldest_ended_response_make_way(room: Room) -> None:
    told = [await room.begin() for _ in range(4)]
    for _, telling in told:
        await telling.tell(event(0))
    for response_id, _ in told[1:3]:
        await room.end(response_id)
    another, telling = await room.begin("another")
    await telling.tell(event(0))
    assert [await room.told(response_id) for response_id, _ in told] == [1, 0, 1, 1]
    assert await room.told(another, "another") == 1


@pytest.mark.timeout(30)
async def test_a_response_that_there_is_no_room_for_ends_without_events_and_its_stream_says_so(room: Room) -> None:
    for _ in range(4):
        _, telling = await room.begin()
        await telling.tell(event(0))
    response_id, telling = await room.begin("another")
    await telling.tell(event(0))
    await telling.tell(render_event("response.output_text.delta", 1, {"delta": "small"}))
    assert await room.told(response_id, "another") == 0, "none may be missing between two others"
    following = asyncio.create_task(_all(room.events.follow("another", response_id)))
    await room.end(response_id, "another")
    [end] = await following
    assert end.startswith(b"event: response.completed")


async def test_ended_responses_are_found_behind_any_number_of_open_ones(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [await room.begin() for _ in range(4)]
    for _, telling in told:
        await telling.tell(event(0))
    await room.end(told[3][0])
    monkeypatch.setattr(event_room, "MOST_LOOKS", 2)
    looking = EventRoom(room.js, room.store.marks, MAX_BYTES)
    assert not await looking.make()
    assert await looking.make()
    assert [await room.told(response_id) for response_id, _ in told] == [1, 1, 1, 0]
    # What has ended meanwhile before the place that was looked at is found too, by the next round.
    await room.end(told[0][0])
    assert await looking.make()
    assert [await room.told(response_id) for response_id, _ in told] == [0, 1, 1, 0]


async def test_events_too_long_for_a_message_together_are_told_one_by_one(room: Room) -> None:
    response_id, telling = await room.begin()
    await telling.tell(event(0) + render_event(ITEM_DONE, 1, {"item": {}}) + event(2))
    # An item's end alone would say that the answer is complete.
    assert await room.numbers(response_id) == [[0], [1, 2]]


@pytest.mark.timeout(8)
async def test_behind_an_event_too_long_for_a_message_none_is_told(room: Room) -> None:
    response_id, telling = await room.begin()
    await telling.tell(event(0))
    await telling.tell(render_event("response.output_text.delta", 1, {"delta": "x" * MAX_PAYLOAD}))
    await telling.tell(render_event("response.output_text.delta", 2, {"delta": "small"}))
    assert await room.numbers(response_id) == [[0]]


async def _all(events: AsyncIterator[bytes]) -> list[bytes]:
    return [piece async for piece in events]
