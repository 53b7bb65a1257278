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

from sage_common.errors import EngineFailedError
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


@pytest.mark.parametrize("alias", [False, True])
async def test_an_event_of_12_megabytes_stalls_nobody(outside: Outside, alias: bool) -> None:
    sent = chunk(LARGE) + chunk(None, "stop") + DONE
    await outside.serve(in_pieces(sent, "text/event-stream"), aliases=("another",))
    async with longest_block() as longest:
        answered = await outside.ask(stream=True, model="another" if alias else MODEL)
    assert len(answered.text) == len(LARGE)
    assert answered.events[-1].data == "[DONE]"
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


# The 50 ms are for each process; here one loop is server, engine, scheduler, edge, gateway and client.
LIMIT_SECONDS = 0.15


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
