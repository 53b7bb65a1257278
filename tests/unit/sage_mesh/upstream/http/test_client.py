"""The HTTP client against servers that do it right, and against those that do not."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sage_mesh.upstream.http import connection as connections
from sage_mesh.upstream.http.answer import HttpAnswer
from sage_mesh.upstream.http.client import HttpClient
from sage_mesh.upstream.http.connection import MAX_HEAD_BYTES, WRITE_BYTES
from sage_mesh.upstream.http.http_error import HttpError, StaleConnectionError

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nword\r\n6;ext=1\r\n and a\r\n0\r\nTrailer: x\r\n\r\n"

Serve = Callable[..., Awaitable[Any]]
Connect = Callable[..., HttpClient]


def answering(*pieces: bytes) -> Callable[[Any], Awaitable[None]]:
    """Return a script that answers every request of a connection with these pieces."""

    async def script(peer: Any) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces)

    return script


def answering_once(*pieces: bytes) -> Callable[[Any], Awaitable[None]]:
    """Return a script that answers one request and closes the connection."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(*pieces)

    return script


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens without telling; fails with TimeoutError."""

    async def poll() -> None:
        while not condition():  # noqa: ASYNC110 - the thing waited for has no event
            await asyncio.sleep(0.002)

    await asyncio.wait_for(poll(), 5)


async def post(client: HttpClient, server: Any, body: bytes = b"{}") -> bytes:
    async with client.post(f"{server.url}/v1/x", body, {}) as answer:
        return await answer.read()


async def test_an_answer_has_its_status_its_headers_and_its_body(serve: Serve, connect: Connect) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def script(peer: Any) -> None:
        seen.append(await peer.request())
        await peer.send(WHOLE)

    server = await serve(script)
    async with connect(server.url, Accept="*/*").post(f"{server.url}/v1/x", b"body", {"X-Id": "7"}) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        assert answer.headers["CONTENT-length"] == "2"
        assert answer.headers.get("Retry-After") is None
        assert await answer.next() == b"{}"
        assert await answer.next() == b""
    head, body = seen[0]
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n" % server.port)
    assert b"\r\nX-Id: 7\r\n" in head
    assert body == b"body"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_chunks_are_put_together_however_they_are_cut(serve: Serve, connect: Connect, size: int) -> None:
    server = await serve(answering(*(CHUNKED[start : start + size] for start in range(0, len(CHUNKED), size))))
    client = connect(server.url)
    for _ in range(2):
        assert await post(client, server) == b"word and a"
    assert server.connections == 1


@pytest.mark.parametrize(
    "head", [OK + b"Connection: close\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.0 200 OK\r\nConnection: close\r\n"]
)
@pytest.mark.parametrize("framed", [True, False])
async def test_a_connection_that_the_server_ends_is_not_used_again(
    serve: Serve, connect: Connect, head: bytes, framed: bool
) -> None:
    length = b"Content-Length: 4\r\n" if framed else b""
    server = await serve(answering_once(head + length + b"\r\n", b"wo", b"rd"))
    client = connect(server.url)
    for expected in (1, 2):
        assert await post(client, server) == b"word"
        assert server.connections == expected


async def test_an_answer_without_a_length_ends_with_its_connection(serve: Serve, connect: Connect) -> None:
    server = await serve(answering_once(OK + b"\r\n", b"data: a\n\n"))
    assert await post(connect(server.url), server) == b"data: a\n\n"


async def test_an_answer_without_a_body_is_empty(serve: Serve, connect: Connect) -> None:
    server = await serve(answering(b"HTTP/1.1 204 No Content\r\n\r\n"))
    client = connect(server.url)
    assert [await post(client, server) for _ in range(2)] == [b"", b""]
    assert server.connections == 1


async def test_interim_answers_are_passed_over(serve: Serve, connect: Connect) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    server = await serve(answering(*early, WHOLE))
    async with connect(server.url).post(f"{server.url}/v1/x", b"", {}) as answer:
        assert answer.status == 200
        assert "link" not in answer.headers
        assert await answer.read() == b"{}"


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ((b"220 mail.example ESMTP\r\n",), "not HTTP"),
        ((b"\x15\x03\x03\x00\x02\x02\x46",), "not HTTP"),
        ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",), "another protocol"),
        ((OK + b"Content-Length: two\r\n\r\n",), "not HTTP"),
        ((OK + b"Content-Length: 5\r\n\r\nwor",), "in the middle of its answer$"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nwo",), "in the middle of its answer$"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",), "not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nContent-Le",), "in the middle of its answer's head"),
        ((b"",), "closed the connection without an answer"),
        ((OK, *(b"X-%d: %b\r\n" % (number, b"x" * 8000) for number in range(12))), f"more than {MAX_HEAD_BYTES} bytes"),
        ((OK + b"X: ", *(b"x" * 8192 for _ in range(12))), f"more than {MAX_HEAD_BYTES} bytes"),
        ((OK + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",), "coded as 'br'"),
    ],
)
async def test_what_is_no_whole_http_answer_is_a_failure(
    serve: Serve, connect: Connect, pieces: tuple[bytes, ...], problem: str
) -> None:
    server = await serve(answering_once(*pieces))
    with pytest.raises(HttpError, match=problem):
        await post(connect(server.url), server)
    assert server.connections == 1


async def test_what_came_before_a_connection_broke_is_given_first(serve: Serve, connect: Connect) -> None:
    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nword\r\n")
        peer.writer.transport.abort()
        read.set()

    read = asyncio.Event()
    server = await serve(script)
    async with connect(server.url).post(f"{server.url}/v1/x", b"", {}) as answer:
        await read.wait()
        assert await answer.next() == b"word"
        with pytest.raises(HttpError):
            await answer.next()


@pytest.mark.parametrize("rest", [b"\r\ngarbage", WHOLE, b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_what_follows_an_answer_is_no_answer_to_the_next_request(
    serve: Serve, connect: Connect, rest: bytes
) -> None:
    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(OK + b"Content-Length: 4\r\n\r\nword" + rest)
        await peer.gone()

    server = await serve(script)
    client = connect(server.url)
    assert [await post(client, server) for _ in range(2)] == [b"word", b"word"]
    assert server.connections == 2


async def test_what_a_server_says_unasked_ends_a_kept_connection(serve: Serve, connect: Connect) -> None:
    said = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(WHOLE)
        if not said.is_set():
            await asyncio.sleep(0)
            await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await peer.gone()
            said.set()

    server = await serve(script)
    client = connect(server.url)
    await post(client, server)
    await said.wait()
    assert await post(client, server) == b"{}"
    assert server.connections == 2


async def test_gzip_is_decoded_though_it_was_not_asked_for(serve: Serve, connect: Connect) -> None:
    coded = gzip.compress(b"words " * 50_000)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(coded)
    server = await serve(answering(head, *(coded[start : start + 100] for start in range(0, len(coded), 100))))
    assert await post(connect(server.url), server) == b"words " * 50_000


# Kept connections


def closes_at_the_second_request(*answer: bytes) -> Callable[[Any], Awaitable[None]]:
    """Return a script whose first connection answers once, reads another request, says ``answer`` and closes."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(WHOLE)
        await peer.request()
        await peer.send(*answer, *([] if peer.number == 0 else [WHOLE]))

    return script


async def test_a_request_on_a_stale_connection_goes_over_a_new_one(serve: Serve, connect: Connect) -> None:
    server = await serve(closes_at_the_second_request())
    client = connect(server.url)
    assert [await post(client, server) for _ in range(2)] == [b"{}", b"{}"]
    assert server.connections == 2


async def test_it_goes_over_a_new_one_once(serve: Serve, connect: Connect) -> None:
    async def script(peer: Any) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.send(WHOLE)
            await peer.request()

    server = await serve(script)
    client = connect(server.url)
    await post(client, server)
    with pytest.raises(HttpError, match="without an answer") as failure:
        await post(client, server)
    assert not isinstance(failure.value, StaleConnectionError)
    assert server.connections == 2


async def test_a_request_that_was_begun_to_be_answered_does_not_go_again(serve: Serve, connect: Connect) -> None:
    server = await serve(closes_at_the_second_request(b"HTTP/1.1 2"))
    client = connect(server.url)
    await post(client, server)
    with pytest.raises(HttpError, match="answer's head"):
        await post(client, server)
    assert server.connections == 1


async def test_nor_does_one_that_the_server_had_time_to_read(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALE_SECONDS", 0.0)
    server = await serve(closes_at_the_second_request())
    client = connect(server.url)
    await post(client, server)
    with pytest.raises(HttpError, match="without an answer"):
        await post(client, server)
    assert server.connections == 1


async def test_a_connection_that_the_server_closes_meanwhile_is_forgotten(serve: Serve, connect: Connect) -> None:
    server = await serve(answering_once(WHOLE))
    client = connect(server.url)
    for number in range(1, 4):
        assert await post(client, server) == b"{}"
        assert server.connections == number
        await until(lambda: client.connections == 0)


async def test_a_connection_without_a_request_is_closed_after_its_time(serve: Serve, connect: Connect) -> None:
    gone = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(WHOLE)
        await peer.gone()
        gone.set()

    server = await serve(script)
    await post(connect(server.url, kept_seconds=0.05), server)
    await asyncio.wait_for(gone.wait(), 5)


# Leaving


async def hanging(peer: Any, *pieces: bytes) -> None:
    await peer.request()
    await peer.send(*pieces)
    await peer.gone()


@pytest.mark.parametrize("begun", [True, False])
async def test_who_is_cancelled_closes_the_connection(serve: Serve, connect: Connect, begun: bool) -> None:
    reached, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        if begun:
            await peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        reached.set()
        await peer.gone()
        gone.set()

    server = await serve(script)
    task = asyncio.create_task(post(connect(server.url), server))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(gone.wait(), 5)


async def test_who_leaves_before_the_end_closes_the_connection(serve: Serve, connect: Connect) -> None:
    gone = asyncio.Event()

    async def script(peer: Any) -> None:
        await hanging(peer, OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nword\r\n")
        gone.set()

    server = await serve(script)
    async with connect(server.url).post(f"{server.url}/v1/x", b"", {}) as answer:
        assert await answer.next() == b"word"
    await asyncio.wait_for(gone.wait(), 5)
    with pytest.raises(HttpError, match="closed here"):
        await answer.next()


@pytest.mark.parametrize("begun", [True, False])
async def test_a_client_that_is_closed_leaves_nobody_waiting(serve: Serve, connect: Connect, begun: bool) -> None:
    reached = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        if begun:
            await peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        reached.set()
        await peer.gone()

    server = await serve(script)
    client = connect(server.url, limit=1)
    tasks = [asyncio.create_task(post(client, server)) for _ in range(2)]  # the second waits for a connection
    await reached.wait()
    await client.close()
    for outcome in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5):
        assert isinstance(outcome, HttpError)
    with pytest.raises(HttpError, match="closed here"):
        await post(client, server)


# Silence, and readers that are slow


@pytest.mark.parametrize("begun", [True, False])
async def test_a_server_that_is_silent_is_given_up(serve: Serve, connect: Connect, begun: bool) -> None:
    pieces = (OK + b"Content-Length: 9\r\n\r\n", b"word") if begun else ()
    server = await serve(lambda peer: hanging(peer, *pieces))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(post(connect(server.url, silence_seconds=0.05), server), 5)


async def test_a_server_that_is_slow_but_not_silent_is_not(serve: Serve, connect: Connect) -> None:
    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            await asyncio.sleep(0.02)
            await peer.send(b"1\r\na\r\n")
        await peer.send(b"0\r\n\r\n")

    server = await serve(script)
    assert await post(connect(server.url, silence_seconds=0.2), server) == b"a" * 20


async def test_a_limit_of_silence_can_be_lowered_for_one_answer(serve: Serve, connect: Connect) -> None:
    server = await serve(lambda peer: hanging(peer, OK + b"Content-Length: 9\r\n\r\n", b"word"))
    async with connect(server.url, silence_seconds=0.5).post(f"{server.url}/v1/x", b"", {}) as answer:
        assert answer.limit_silence(60.0) == 0.5
        assert answer.limit_silence(0.05) == 0.05
        assert await answer.next() == b"word"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(answer.next(), 5)


async def test_an_answer_that_nobody_reads_is_not_read_on_and_not_silent(serve: Serve, connect: Connect) -> None:
    # Far more than the system's buffers between the two hold.
    total = 32 * 1024 * 1024
    sent = 0

    async def script(peer: Any) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(OK + b"Content-Length: %d\r\n\r\n" % total)
        while sent < total:
            peer.writer.write(b"x" * 65_536)
            sent += 65_536
            await peer.writer.drain()

    server = await serve(script)
    async with connect(server.url, silence_seconds=0.1).post(f"{server.url}/v1/x", b"", {}) as answer:
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < total
        assert len(await answer.read()) == total


# Bodies of requests


async def test_a_long_body_arrives_as_it_is_at_a_server_that_reads_slowly(serve: Serve, connect: Connect) -> None:
    body = bytes(range(256)) * (40 * WRITE_BYTES // 256)

    async def script(peer: Any) -> None:
        read = b""
        while len(read) < len(body):
            await asyncio.sleep(0)
            piece = await peer.reader.read(1_000_000)
            read = read.partition(b"\r\n\r\n")[2] + piece if read.startswith(b"POST") else read + piece
        assert read == body
        await peer.send(WHOLE)

    server = await serve(script)
    assert await post(connect(server.url), server, body) == b"{}"


async def test_an_answer_may_come_before_the_body_is_sent(serve: Serve, connect: Connect) -> None:
    async def script(peer: Any) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig" if peer.number == 0 else WHOLE)
        await peer.gone()

    server = await serve(script)
    client = connect(server.url)
    async with client.post(f"{server.url}/v1/x", bytes(64 * WRITE_BYTES), {}) as answer:
        assert answer.status == 413
        assert await answer.read() == b"big"
    assert await post(client, server, b"") == b"{}"
    assert server.connections == 2


# What is asked of an answer


async def test_part_of_a_body_can_be_read(serve: Serve, connect: Connect) -> None:
    server = await serve(answering(OK + b"Content-Length: 10\r\n\r\n", b"01234", b"56789"))
    async with connect(server.url).post(f"{server.url}/v1/x", b"", {}) as answer:
        assert await answer.read_up_to(7) == b"0123456"


async def test_the_end_is_told_once(serve: Serve, connect: Connect) -> None:
    server = await serve(answering(WHOLE))
    ends: list[str] = []
    async with connect(server.url).post(f"{server.url}/v1/x", b"", {}) as answer:
        answer.on_end(lambda: ends.append("end"))
        assert await answer.read() == b"{}"
        assert ends == ["end"]
        answer.on_end(lambda: ends.append("late"))
        assert ends == ["end", "late"]
    assert isinstance(answer, HttpAnswer)
    assert answer.ended
