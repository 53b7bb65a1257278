"""What arrives of a reply reaches its client as it comes, through a real HTTP server, and without a message a piece."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from sage_common.errors import EngineFailedError, SageError
from sage_gateway.asgi import Receive, Scope, Send
from sage_gateway.body_writer import body_writer
from sage_gateway.http_server import HttpServer
from sage_gateway.outflow import Outflow
from sage_mesh.reply import NO_USAGE, Reply


class StreamingApp:
    """Answers with what is fed to a reply; ``outcomes`` has what each stream ended with."""

    def __init__(self, comment_seconds: float | None = None) -> None:
        self._comment_seconds = comment_seconds
        self.replies: asyncio.Queue[Reply] = asyncio.Queue()
        self.outcomes: asyncio.Queue[SageError | None] = asyncio.Queue()
        self.stopped: asyncio.Queue[SageError] = asyncio.Queue()
        self.direct: list[bool] = []
        self._outflow = Outflow()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = Reply("id", self.stopped.put_nowait)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        writer = body_writer(scope)
        self.direct.append(writer is not None)
        self.replies.put_nowait(reply)
        try:
            if writer is not None:
                await self._outflow.pass_on(reply, writer, self._comment_seconds)
            async for piece in reply:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except SageError as error:
            self.outcomes.put_nowait(error)
        else:
            self.outcomes.put_nowait(None)
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving(app: StreamingApp) -> AsyncIterator[int]:
    http = HttpServer(app, keep_alive_seconds=5, drain_timeout_seconds=1)
    yield await http.start("127.0.0.1", 0, setting="X")
    await http.stop()


async def begun(app: StreamingApp) -> Reply:
    return await asyncio.wait_for(app.replies.get(), 5)


async def test_pieces_reach_their_clients_as_they_come_each_its_own_and_in_order() -> None:
    app, rng = StreamingApp(), random.Random(7)
    async with serving(app) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/"
        answers, replies = [], []
        for _ in range(8):
            waiting = asyncio.create_task(session.post(url))
            replies.append(await begun(app))
            answers.append(await waiting)
        sent = [b""] * 8
        for number in range(400):
            which = rng.randrange(8)
            piece = b"%d:%d " % (which, number) + b"x" * rng.randrange(3)
            sent[which] += piece
            replies[which].feed(piece)
            if rng.random() < 0.3:
                await asyncio.sleep(0)
        # Before any of them has ended.
        for answer, text in zip(answers, sent, strict=True):
            assert await asyncio.wait_for(answer.content.readexactly(len(text)), 5) == text
        for reply in replies:
            reply.feed(b"last")
            reply.end(NO_USAGE)
        assert [await answer.read() for answer in answers] == [b"last"] * 8
        assert all(app.direct)


async def test_a_client_that_reads_late_gets_all_of_it_and_what_it_leaves_waits_in_the_reply() -> None:
    app = StreamingApp()
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        reply = await begun(app)
        piece = bytes(range(256)) * 1024
        for _ in range(100):
            reply.feed(piece)
            await asyncio.sleep(0)
        assert reply.unread_bytes > len(piece)
        reply.end(NO_USAGE)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert await asyncio.wait_for(app.outcomes.get(), 5) is None
        writer.close()
    _, _, chunks = answer.partition(b"\r\n\r\n")
    assert unchunked(chunks) == piece * 100


def unchunked(data: bytes) -> bytes:
    body: list[bytes] = []
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            assert data == b"\r\n"
            return b"".join(body)
        body.append(data[: int(size, 16)])
        assert data[int(size, 16) :].startswith(b"\r\n")
        data = data[int(size, 16) + 2 :]


async def test_an_error_ends_it_after_what_came_before() -> None:
    app = StreamingApp()
    async with serving(app) as port, aiohttp.ClientSession() as session:
        waiting = asyncio.create_task(session.post(f"http://127.0.0.1:{port}/"))
        reply = await begun(app)
        reply.feed(b"so far")
        reply.fail(EngineFailedError("it broke"))
        assert await (await waiting).read() == b"so far"
        assert isinstance(await asyncio.wait_for(app.outcomes.get(), 5), EngineFailedError)


async def test_pieces_for_a_client_that_has_gone_go_nowhere_and_their_stream_still_ends() -> None:
    app = StreamingApp()
    async with serving(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        reply = await begun(app)
        writer.transport.abort()
        for _ in range(50):
            reply.feed(b"x" * 100_000)
            await asyncio.sleep(0)
        reply.end(NO_USAGE)
        assert await asyncio.wait_for(app.outcomes.get(), 5) is None


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_that_ends_with_its_connection_is_sent_without_chunks(version: bytes) -> None:
    app = StreamingApp()
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/%b\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % version)
        reply = await begun(app)
        reply.feed(b"one ")
        reply.end(NO_USAGE)
        answer = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")[2]
        assert answer == (b"one " if version == b"1.0" else b"4\r\none \r\n0\r\n\r\n")
        writer.close()
    assert app.direct == [version == b"1.1"]


async def test_a_request_that_is_sent_behind_a_stream_is_answered_after_it() -> None:
    app = StreamingApp()
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
        writer.write(request)
        first = await begun(app)
        first.feed(b"first")
        writer.write(request)
        await asyncio.wait_for(reader.readuntil(b"first\r\n"), 5)
        assert app.replies.empty()
        first.feed(b"more")
        await asyncio.wait_for(reader.readuntil(b"more\r\n"), 5)
        first.end(NO_USAGE)
        second = await begun(app)
        second.feed(b"second")
        second.end(NO_USAGE)
        assert b"second" in await asyncio.wait_for(reader.readuntil(b"second\r\n0\r\n\r\n"), 5)
        writer.close()


async def test_after_a_silence_there_is_a_comment_between_two_pieces() -> None:
    app = StreamingApp(comment_seconds=0.01)
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        reply = await begun(app)
        reply.feed(b"first")
        comment = b"e\r\n: keep-alive\n\n\r\n"
        await asyncio.wait_for(reader.readuntil(b"5\r\nfirst\r\n" + comment + comment), 5)
        reply.feed(b"second")
        await asyncio.wait_for(reader.readuntil(b"6\r\nsecond\r\n" + comment), 5)
        reply.end(NO_USAGE)
        await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
        writer.close()


async def test_there_is_no_comment_where_pieces_come_sooner() -> None:
    app = StreamingApp(comment_seconds=3600)
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        reply = await begun(app)
        for _ in range(5):
            reply.feed(b"x")
            await asyncio.sleep(0)
        reply.end(NO_USAGE)
        assert unchunked((await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")[2]) == b"xxxxx"
        writer.close()
