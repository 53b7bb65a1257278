"""A reply and who reads it: its end waits for what has to be said of it before."""

from __future__ import annotations

import asyncio

import pytest

from sage_common.errors import EngineFailedError, SageError
from sage_mesh.reply import Media, Reply, ReplyHead, TokenUsage

HEAD = ReplyHead(Media.EVENT_STREAM, "engine", 0.0, 1, "model")


def reply_that_waits() -> tuple[Reply, asyncio.Future[None], list[tuple[TokenUsage, SageError | None]]]:
    reply = Reply("r", lambda error: None)
    until: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    told: list[tuple[TokenUsage, SageError | None]] = []

    def on_end(ended: Reply, error: SageError | None) -> asyncio.Future[None]:
        told.append((ended.usage, error))
        return until

    reply.on_end = on_end
    reply.begin(HEAD)
    return reply, until, told


async def test_the_consumer_gets_the_last_piece_only_once_its_end_may_be_known() -> None:
    reply, until, told = reply_that_waits()
    pieces: list[bytes] = []

    async def read() -> None:
        async for piece in reply:
            pieces.append(piece)

    reading = asyncio.create_task(read())
    reply.feed(b"first")
    for _ in range(5):
        await asyncio.sleep(0)
    reply.feed(b"last")
    reply.end(TokenUsage(3, 2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (pieces, reply.ended, told) == ([b"first"], False, [(TokenUsage(3, 2), None)])
    until.set_result(None)
    await asyncio.wait_for(reading, 5)
    assert (pieces, reply.ended) == ([b"first", b"last"], True)


async def test_an_error_waits_too_and_says_what_was_delivered() -> None:
    reply, until, told = reply_that_waits()
    failure = EngineFailedError("gone")
    reply.fail(failure, TokenUsage(0, 7))
    reading = asyncio.create_task(reply.read())
    await asyncio.sleep(0)
    assert (reading.done(), told) == (False, [(TokenUsage(0, 7), failure)])
    until.set_result(None)
    with pytest.raises(EngineFailedError, match="gone"):
        await asyncio.wait_for(reading, 5)


async def test_an_end_that_nobody_has_to_hear_of_comes_at_once() -> None:
    reply = Reply("r", lambda error: None)
    reply.on_end = lambda ended, error: None
    reply.begin(HEAD)
    reply.feed(b"all")
    reply.end(TokenUsage())
    assert (reply.take(), reply.ended) == (b"all", True)
