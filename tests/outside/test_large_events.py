"""One server's bytes, however many, do not hold up another's answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from fixtures.outside_mesh import Outside
from fixtures.outside_server import DONE, MODEL, WHOLE, Asked, Handler, Wire, chunk

from sage_common.errors import EngineFailedError, TooLargeError
from sage_control_plane.request.request import Endpoint
from sage_mesh.executor.direct_call import direct_request, run_here
from sage_mesh.sse import SseFramer, SseParser

MEGABYTE = 1024 * 1024
# An image in base64.
LARGE = "iVBORw0K" * (12 * MEGABYTE // 8)


@asynccontextmanager
async def longest_block() -> AsyncIterator[list[float]]:
    """Measure the longest time that the event loop was held, in seconds."""
    longest = [0.0]

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest[0] = max(longest[0], now - last)
            last = now

    task = asyncio.create_task(watch())
    yield longest
    task.cancel()


def in_pieces(data: bytes, content_type: str, piece_bytes: int = 256 * 1024) -> Handler:
    async def handler(wire: Wire, _asked: Asked) -> None:
        await wire.begin(content_type)
        for start in range(0, len(data), piece_bytes):
            await wire.chunk(data[start : start + piece_bytes])
        await wire.end()

    return handler


async def test_an_engine_holds_its_process_no_50_ms_for_one(outside: Outside) -> None:
    sent = chunk(LARGE) + chunk(None, "stop") + DONE
    server = await outside.serve(in_pieces(sent, "text/event-stream"))
    body = orjson.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    blocks = []
    # What else the machine does only adds to it.
    for _ in range(3):
        size = 0
        async with longest_block() as longest:
            request = direct_request(Endpoint.CHAT_COMPLETIONS, body, MODEL)
            async with run_here(outside.engines[0], request) as reply:
                async for piece in reply:
                    size += len(piece)
        assert size == len(sent)
        blocks.append(longest[0])
    assert min(blocks) < 0.05
    assert len(server.asked) == 3


async def test_what_waits_for_a_client_that_does_not_read_is_bounded(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sage_mesh.edge.edge_request.MAX_UNREAD_BYTES", 2 * MEGABYTE)
    closed = asyncio.Event()

    async def flood(wire: Wire, _asked: Asked) -> None:
        await wire.begin()
        try:
            while True:
                await wire.chunk(chunk("x" * 4096) * 16)
        finally:
            closed.set()

    await outside.serve(flood)
    body = orjson.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    reply = outside.mesh.submit("slow", body)
    pieces = aiter(reply)
    await anext(pieces)
    # Nothing more is read: the engine's connection is closed, and what waits stays within the limit and a batch.
    await asyncio.wait_for(closed.wait(), 10)
    assert reply.unread_bytes < 8 * MEGABYTE
    with pytest.raises(TooLargeError, match="wait to be read"):
        async for _ in pieces:
            pass


@pytest.mark.parametrize("alias", [False, True])
async def test_an_event_of_12_megabytes_stalls_nobody(outside: Outside, alias: bool) -> None:
    sent = chunk(LARGE) + chunk(None, "stop") + DONE
    await outside.serve(in_pieces(sent, "text/event-stream"), aliases=("another",))
    async with longest_block() as longest:
        answered = await outside.ask(stream=True, model="another" if alias else MODEL)
    assert len(answered.text) == len(LARGE)
    assert answered.events[-1].data == "[DONE]"
    # The name stands before the content, in the first of the event's pieces.
    assert orjson.loads(answered.events[0].data)["model"] == ("another" if alias else MODEL)
    assert longest[0] < LIMIT_SECONDS


@pytest.mark.parametrize("alias", [False, True])
async def test_nor_does_a_document(outside: Outside, alias: bool) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": LARGE}, "finish_reason": "stop"}
    await outside.serve(
        in_pieces(orjson.dumps({**WHOLE, "choices": [choice]}), "application/json"), aliases=("another",)
    )
    async with longest_block() as longest:
        answered = await outside.ask(model="another" if alias else MODEL)
    assert longest[0] < LIMIT_SECONDS
    assert answered.text == LARGE
    assert answered.json["model"] == ("another" if alias else MODEL)
    assert answered.json["usage"] == WHOLE["usage"]


# Here one loop is the server, the engine, the scheduler, the edge, the gateway and the client. Parsing alone took more.
LIMIT_SECONDS = 0.5


async def test_an_event_that_does_not_end_is_an_engine_failure(outside: Outside) -> None:
    async def endless(wire: Wire, _asked: Asked) -> None:
        await wire.begin()
        await wire.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"')
        piece = b"x" * MEGABYTE
        while True:
            await wire.chunk(piece)

    await outside.serve(endless)
    answered = await outside.ask(stream=True)
    assert answered.status == 502
    assert "has not ended" in answered.error["message"]


@pytest.mark.parametrize("reader", [SseFramer, SseParser])
def test_an_unfinished_event_is_searched_once(reader: type[SseFramer] | type[SseParser]) -> None:
    def seconds(pieces: int) -> float:
        one = reader(1 << 40)
        began = time.process_time()
        for _ in range(pieces):
            one.feed(b"x" * 4096)
        return time.process_time() - began

    # Ten times the pieces take ten times as long; searched again each time, a hundred times.
    few, many = min(seconds(500) for _ in range(5)), min(seconds(5_000) for _ in range(3))
    assert many < 50 * few


@pytest.mark.parametrize("reader", [SseFramer, SseParser])
def test_it_is_capped(reader: type[SseFramer] | type[SseParser]) -> None:
    one = reader(1000)
    one.feed(b"x" * 1000)
    with pytest.raises(EngineFailedError, match="1000 bytes"):
        one.feed(b"x")
