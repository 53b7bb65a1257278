"""The ring against a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.v1 import frame_pb2
from sage_common.errors import TooLargeError
from sage_platform import ring as ring_module
from sage_platform.protobuf_framing import frame_items
from sage_platform.ring import Ring


def frame(request_id: str, data: bytes = b"") -> frame_pb2.Frame:
    return frame_pb2.Frame(request_id=request_id, data=data)


async def collect(ring: Ring, subject: str, count: int) -> tuple[list[list[str]], asyncio.Future[None]]:
    batches: list[list[str]] = []
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_batch(items: list[frame_pb2.Frame]) -> None:
        batches.append([item.request_id for item in items])
        if sum(map(len, batches)) >= count and not done.done():
            done.set_result(None)

    await ring.subscribe(subject, frame_pb2.FrameBatch, on_batch)
    await ring.connection.flush()
    return batches, done


async def test_messages_of_one_tick_leave_as_one_batch_in_order(ring: Ring) -> None:
    batches, done = await collect(ring, "test.coalesce", 50)
    for number in range(50):
        ring.send("test.coalesce", frame(str(number)))
    await asyncio.wait_for(done, 5)
    assert batches == [[str(number) for number in range(50)]]


async def test_large_items_are_split_into_batches_without_loss_or_reordering(ring: Ring) -> None:
    batches, done = await collect(ring, "test.split", 8)
    for number in range(8):
        ring.send("test.split", frame(str(number), b"x" * 100_000))
    await asyncio.wait_for(done, 5)
    assert [name for batch in batches for name in batch] == [str(number) for number in range(8)]
    assert len(batches) == 4


async def test_items_come_back_at_once_when_nobody_listens(ring: Ring) -> None:
    returned: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    ring.on_no_responders(
        "test.nobody",
        lambda _subject, items: returned.set_result([frame_pb2.Frame.FromString(i).request_id for i in items]),
    )
    ring.send("test.nobody", frame("a"))
    ring.send("test.nobody", frame("b"))
    assert await asyncio.wait_for(returned, 2) == ["a", "b"]


async def test_an_item_larger_than_all_that_is_remembered_comes_back_too(ring: Ring) -> None:
    returned: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ring.on_no_responders("test.nobody.large", lambda _subject, items: returned.set_result(len(items[0])))
    ring.send("test.nobody.large", frame("a", b"x" * (ring_module.REMEMBERED_BYTES + 1)))
    assert await asyncio.wait_for(returned, 5) > ring_module.REMEMBERED_BYTES


async def test_a_heard_batch_does_not_come_back(ring: Ring) -> None:
    returned: list[str] = []
    _, done = await collect(ring, "test.heard", 1)
    ring.on_no_responders("test.heard", lambda subject, _items: returned.append(subject))
    ring.send("test.heard", frame("a"))
    await asyncio.wait_for(done, 5)
    await ring.connection.flush()
    assert returned == []


async def test_an_item_over_the_servers_limit_is_refused_when_it_is_sent(ring: Ring) -> None:
    with pytest.raises(TooLargeError, match="over the mesh's limit"):
        ring.send("test.large", frame("a", b"x" * (ring.max_item_bytes + 1)))


async def test_a_handler_that_raises_does_not_end_the_subscription(
    ring: Ring, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    second: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def handler(items: list[frame_pb2.Frame]) -> None:
        seen.append(items[0].request_id)
        if len(seen) == 1:
            raise ValueError("bad batch")
        second.set_result(None)

    await ring.subscribe("test.raises", frame_pb2.FrameBatch, handler)
    ring.send("test.raises", frame("a"))
    await ring.flush()
    ring.send("test.raises", frame("b"))
    await asyncio.wait_for(second, 5)
    assert seen == ["a", "b"]


async def test_an_unreadable_batch_is_dropped_and_the_next_one_is_read(ring: Ring) -> None:
    batches, done = await collect(ring, "test.garbage", 1)
    await ring.connection.publish("test.garbage", b"\xff\xff\xff")
    ring.send("test.garbage", frame("a"))
    await asyncio.wait_for(done, 5)
    assert batches == [["a"]]


async def test_close_sends_what_is_pending(ring: Ring, nats_server: object) -> None:
    batches, done = await collect(ring, "test.close", 1)
    other = Ring(ring.connection)
    await other.start()
    other.send("test.close", frame("last"))
    await other.close()
    await asyncio.wait_for(done, 5)
    assert batches == [["last"]]


class HeldTick(Ring):
    """A ring whose ticks a test ends itself."""

    def end_tick(self) -> None:
        assert self._tick is not None
        self._tick.cancel()
        self._on_tick()


@pytest.fixture
async def held(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HeldTick]:
    monkeypatch.setattr(ring_module, "MAY_WAIT_SECONDS", 3600.0)
    held = HeldTick(ring.connection)
    await held.start()
    yield held
    await held.close()


async def test_what_may_wait_leaves_at_once_after_a_pause_and_then_once_a_tick_together(held: HeldTick) -> None:
    batches, done = await collect(held, "test.tick", 5)
    held.send_item("test.tick", frame("a").SerializeToString(), may_wait=True)
    await held.connection.flush()
    await asyncio.sleep(0)
    for name in "bc":
        held.send_item("test.tick", frame(name).SerializeToString(), may_wait=True)
        await held.connection.flush()
    held.end_tick()
    for name in "de":
        await asyncio.sleep(0)
        held.send_item("test.tick", frame(name).SerializeToString(), may_wait=True)
    held.end_tick()
    await asyncio.wait_for(done, 5)
    assert batches == [["a"], ["b", "c"], ["d", "e"]]
    held.end_tick()
    assert held._tick is None  # nothing waited: the next one leaves at once again


async def test_what_may_not_wait_takes_along_what_waits_for_the_same_subject_in_order(held: HeldTick) -> None:
    batches, done = await collect(held, "test.urgent", 3)
    others, _ = await collect(held, "test.other", 1)
    held.send_item("test.other", frame("begins the tick").SerializeToString(), may_wait=True)
    await held.flush()
    for subject in ("test.urgent", "test.other"):
        held.send_item(subject, frame("a").SerializeToString(), may_wait=True)
    held.send("test.urgent", frame("b"))
    held.send_item("test.urgent", frame("c").SerializeToString(), may_wait=True)
    await asyncio.wait_for(done, 5)
    assert batches == [["a", "b", "c"]]
    assert others == [["begins the tick"]]


async def test_flush_and_close_send_what_waits(held: HeldTick) -> None:
    batches, done = await collect(held, "test.waits", 4)
    for name in "ab":
        held.send_item("test.waits", frame(name).SerializeToString(), may_wait=True)
        await held.flush()
    other = HeldTick(held.connection)
    await other.start()
    for name in "cd":
        other.send_item("test.waits", frame(name).SerializeToString(), may_wait=True)
        await asyncio.sleep(0)
    await other.close()
    await asyncio.wait_for(done, 5)
    assert [name for batch in batches for name in batch] == ["a", "b", "c", "d"]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_hand_made_framing_is_what_protobuf_writes(datas: list[bytes]) -> None:
    frames = [frame(str(index), data) for index, data in enumerate(datas)]
    written = frame_items([f.SerializeToString() for f in frames])
    assert written == frame_pb2.FrameBatch(items=frames).SerializeToString()
