from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
from fixtures.eventually import eventually
from fixtures.nats import start_nats
from nats.js.api import ObjectStoreConfig
from nats.js.client import JetStreamContext

from sage_common.errors import EngineFailedError, UnavailableError
from sage_mesh.bodies import body_store
from sage_mesh.bodies.body_store import CHUNK_BYTES, BodyStore


async def test_a_bucket_that_is_lost_is_said_to_be_and_made_again(tmp_path: Path) -> None:
    server = start_nats(tmp_path)
    connection = await nats.connect(server.url)
    try:
        js = connection.jetstream()
        edge, executor = BodyStore(js), BodyStore(js)
        await edge.write("first", b"x")
        assert await executor.read("first") == b"x"
        await js.delete_stream("OBJ_bodies")
        with pytest.raises(EngineFailedError, match="send the request again"):
            await executor.read("first")
        with pytest.raises(UnavailableError, match="its bucket in JetStream is gone") as lost:
            await edge.write("second", b"y")
        assert (lost.value.code, lost.value.retryable) == ("body_store_unavailable", True)
        await edge.write("second", b"y")
        assert await executor.read("second") == b"y"
    finally:
        await connection.close()
        server.stop()


@pytest.fixture
async def js(tmp_path: Path) -> AsyncIterator[JetStreamContext]:
    server = start_nats(tmp_path)
    connection = await nats.connect(server.url)
    try:
        yield connection.jetstream()
    finally:
        await connection.close()
        server.stop()


async def stored(js: JetStreamContext) -> int:
    return (await js.stream_info("OBJ_bodies")).state.messages


async def test_chunks_come_back_in_their_order_and_without_a_consumer(js: JetStreamContext) -> None:
    parts = random.Random(7).randbytes(20 * CHUNK_BYTES + 5)
    store = BodyStore(js)
    await store.write("body", parts)
    assert await BodyStore(js).read("body") == parts
    assert (await js.stream_info("OBJ_bodies")).state.consumer_count == 0
    await store.remove("body")
    assert await stored(js) == 0


async def test_of_a_transfer_that_is_cancelled_nothing_stays(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BodyStore(js)
    await store.write("whole", b"x")
    arrived, publish, calls = asyncio.Event(), js.publish, 0

    async def stalling(*arguments: Any, **fields: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 9:
            arrived.set()
        return await publish(*arguments, **fields)

    monkeypatch.setattr(js, "publish", stalling)
    writing = asyncio.create_task(store.write("cut", bytes(200 * CHUNK_BYTES)))
    await arrived.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await eventually(lambda: not store._undoing)
    assert (calls < 200, await stored(js)) == (True, 1)


async def test_of_a_transfer_that_takes_too_long_nothing_stays_and_the_caller_may_try_again(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BodyStore(js)
    await store.write("whole", b"x")
    monkeypatch.setattr(body_store, "TRANSFER_SECONDS", 0.01)
    with pytest.raises(UnavailableError, match="JetStream does not answer") as late:
        await store.write("late", bytes(400 * CHUNK_BYTES))
    assert (late.value.code, late.value.retryable) == ("body_store_unavailable", True)
    await eventually(lambda: not store._undoing)
    assert await stored(js) == 1


async def test_a_reader_that_gives_up_leaves_no_consumer(js: JetStreamContext) -> None:
    store = BodyStore(js)
    await store.write("body", bytes(100 * CHUNK_BYTES))
    reading = asyncio.create_task(store.read("body"))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    assert (await js.stream_info("OBJ_bodies")).state.consumer_count == 0


async def test_parts_whose_writer_was_killed_go_by_their_own_age(js: JetStreamContext) -> None:
    await BodyStore(js).write("left", bytes(3 * CHUNK_BYTES), lifetime_seconds=1)
    await eventually(lambda: is_empty(js), seconds=10)


async def test_a_bucket_of_an_earlier_release_takes_parts_with_an_age(js: JetStreamContext) -> None:
    await js.create_object_store("bodies", ObjectStoreConfig(max_bytes=5_000_000))
    await BodyStore(js).write("body", b"x", lifetime_seconds=100)
    config = (await js.stream_info("OBJ_bodies")).config
    assert (config.allow_msg_ttl, config.max_bytes) == (True, 5_000_000)


async def is_empty(js: JetStreamContext) -> bool:
    return await stored(js) == 0
