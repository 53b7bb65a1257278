"""A client that does not read: its engine is not read either, nothing piles up, and nothing is lost when it does."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
import orjson
import pytest
from fixtures.eventually import eventually
from fixtures.outside_mesh import CHAT, Outside
from fixtures.outside_server import DONE, HELLO, MODEL, Asked, Wire, chunk

from sage_control_plane.request.request import Endpoint
from sage_mesh.executor.direct_call import direct_request, run_here
from sage_mesh.reply import HIGH_WATER_BYTES, LOW_WATER_BYTES

MEGABYTE = 1024 * 1024
PIECE = chunk("x" * 4096) * 16
PIECES = 200 * MEGABYTE // len(PIECE)
# The two sockets' buffers, which the kernel makes as large as it likes, and what is on its way when reading pauses.
ON_THE_WAY_BYTES = 48 * MEGABYTE
BODY = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}


class LongAnswer:
    """A server's answer of 200 MB to who asks with ``long``, and a short one to others.

    Attributes:
        sent: bytes that the server has got rid of.
    """

    def __init__(self, pieces: int = PIECES) -> None:
        self.sent = 0
        self._pieces = pieces

    async def __call__(self, wire: Wire, asked: Asked) -> None:
        await wire.begin()
        if asked.json.get("user") != "long":
            await wire.chunk(b"".join(HELLO) + DONE)
            await wire.end()
            return
        for _ in range(self._pieces):
            await wire.chunk(PIECE)
            self.sent += len(PIECE)
        await wire.chunk(chunk(None, "stop") + DONE)
        await wire.end()


def memory_bytes() -> int:
    """What this process holds: server, engine, scheduler, gateway and client are all in it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def writers(outside: Outside) -> list[bool]:
    hosted = outside.mesh.executor._hosted.values()
    return [attempt.writer.paused for one in hosted for attempt in one.attempts.values()]


async def test_200_megabytes_wait_at_their_server_and_arrive_whole(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter than what follows, so that the edge's word has to be repeated.
    monkeypatch.setattr("sage_mesh.executor.flow_window.SILENCE_SECONDS", 1.0)
    answer = LongAnswer()
    await outside.serve(answer)
    timeout = aiohttp.ClientTimeout(total=90)
    began_with = memory_bytes()
    async with outside.http.post(CHAT, json={**BODY, "user": "long"}, timeout=timeout) as response:
        await eventually(lambda: writers(outside) == [True], seconds=20)
        sent: list[int] = []
        ending = asyncio.get_running_loop().time() + 2
        while asyncio.get_running_loop().time() < ending:
            # Another stream of the same engine goes on meanwhile.
            answered = await outside.ask(stream=True)
            assert (answered.text, answered.done) == ("hello", True)
            assert writers(outside) == [True]
            sent.append(answer.sent)
        assert sent[-1] == sent[len(sent) // 2] < ON_THE_WAY_BYTES
        size, last = 0, b""
        async for piece in response.content.iter_any():
            size += len(piece)
            last = (last + piece)[-len(DONE) :]
        assert memory_bytes() - began_with < 2 * ON_THE_WAY_BYTES
    assert size == PIECES * len(PIECE) + len(chunk(None, "stop") + DONE)
    assert last == DONE


async def test_who_stops_reading_and_leaves_frees_the_engine(outside: Outside) -> None:
    await outside.serve(LongAnswer())
    async with outside.http.post(CHAT, json={**BODY, "user": "long"}) as response:
        await eventually(lambda: writers(outside) == [True], seconds=20)
        response.close()
    await eventually(lambda: outside.mesh.executor.outstanding == 0, seconds=20)


async def test_an_answer_whose_edge_says_nothing_more_is_read_on(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sage_mesh.executor.flow_window.SILENCE_SECONDS", 0.05)
    monkeypatch.setattr("sage_mesh.edge.edge.Edge._send_flow", lambda *_arguments: None)
    answer = LongAnswer(pieces=MEGABYTE * 12 // len(PIECE))
    await outside.serve(answer)
    reply = outside.mesh.submit("slow", orjson.dumps({**BODY, "user": "long"}))
    assert len(await reply.read()) > answer.sent > 2 * HIGH_WATER_BYTES


async def test_nor_does_a_direct_call_read_on(outside: Outside) -> None:
    answer = LongAnswer(pieces=MEGABYTE * 40 // len(PIECE))
    await outside.serve(answer)
    request = direct_request(Endpoint.CHAT_COMPLETIONS, orjson.dumps({**BODY, "user": "long"}), MODEL)
    async with run_here(outside.engines[0], request) as reply:
        await reply.head()
        await eventually(lambda: reply.on_low is not None, seconds=10)
        assert HIGH_WATER_BYTES < reply.unread_bytes < 2 * HIGH_WATER_BYTES
        size = 0
        async for piece in reply:
            size += len(piece)
            if reply.on_low is None and not reply.ended:
                assert reply.unread_bytes <= LOW_WATER_BYTES + HIGH_WATER_BYTES
    assert size == answer.sent + len(chunk(None, "stop") + DONE)
