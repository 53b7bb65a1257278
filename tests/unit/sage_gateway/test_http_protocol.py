"""What one connection may hold: its head, and what its client does not read. Over real sockets."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sage_gateway.asgi import JSON, App, Receive, Scope, Send, send_whole
from sage_gateway.http_protocol import MAX_HEAD_BYTES
from sage_gateway.http_server import HttpServer

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
START = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"


async def count_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = bool(message.get("more_body"))
    await send_whole(send, 200, [JSON], json.dumps({"size": size}).encode())


@asynccontextmanager
async def serving(app: App, write_timeout_seconds: float = 30.0) -> AsyncIterator[int]:
    server = HttpServer(
        app, keep_alive_seconds=30, drain_timeout_seconds=1, write_timeout_seconds=write_timeout_seconds
    )
    port = await server.start("127.0.0.1", 0, setting="X")
    try:
        yield port
    finally:
        await asyncio.wait_for(server.stop(), 10)


async def ask(port: int, *pieces: bytes) -> tuple[int, dict[str, object]]:
    """Send ``pieces`` as they come and return the first answer; sending ends when the server has closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            try:
                await writer.drain()
            except ConnectionError:
                break
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split(b" ")[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        START + b"x-long: " + b"a" * 80 * KIBIBYTE + b"\r\n\r\n",
        START + b"".join(b"x-%d: %s\r\n" % (number, b"a" * 100) for number in range(1000)) + b"\r\n",
        b"GET /" + b"a" * 80 * KIBIBYTE + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["one header", "many headers", "path"],
)
@pytest.mark.parametrize("piece_bytes", [1000, 512 * KIBIBYTE])
async def test_a_long_head_is_refused(head: bytes, piece_bytes: int) -> None:
    async with serving(count_the_body) as port:
        status, answer = await ask(port, *(head[i : i + piece_bytes] for i in range(0, len(head), piece_bytes)))
    error = answer["error"]
    assert isinstance(error, dict)
    assert (status, error["code"]) == (431, "head_too_large")


@pytest.mark.parametrize("start", [b"GET /", START + b"x-endless: "])
async def test_a_head_without_end_is_refused_while_it_arrives(start: bytes) -> None:
    async with serving(count_the_body) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(start)
        sent = 0
        # Each piece is read before the next is sent, or the server could have closed much later than it did.
        while not reader.at_eof() and sent < MEBIBYTE:
            writer.write(b"a" * 8 * KIBIBYTE)
            sent += 8 * KIBIBYTE
            try:
                await asyncio.wait_for(reader.readuntil(b"\r\n"), 0.05)
            except asyncio.TimeoutError:
                continue
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            break
        writer.close()
    assert MAX_HEAD_BYTES <= sent <= MAX_HEAD_BYTES + 3 * 8 * KIBIBYTE


async def test_heads_within_the_limit_pass_whatever_follows_them() -> None:
    head = START + b"x-fill: " + b"a" * (MAX_HEAD_BYTES - 1000) + b"\r\ncontent-length: "
    body = b"b" * 3 * MEBIBYTE
    async with serving(count_the_body) as port:
        assert await ask(port, head + b"%d\r\n\r\n" % len(body) + body) == (200, {"size": len(body)})
        # Head and body in the same piece, then the next request on the same connection, in many pieces.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            request = head + b"100000\r\n\r\n" + b"b" * 100_000
            for start in range(0, len(request), 70 * KIBIBYTE):
                writer.write(request[start : start + 70 * KIBIBYTE])
                await writer.drain()
            answer = await asyncio.wait_for(reader.readuntil(b'"size": 100000}'), 10)
            assert answer.startswith(b"HTTP/1.1 200")
        writer.close()


async def test_many_requests_in_one_piece_are_no_long_head() -> None:
    async with serving(count_the_body) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        count = 2000
        writer.write((START + b"content-length: 1\r\n\r\nb") * count)
        for _ in range(count):
            await asyncio.wait_for(reader.readuntil(b'"size": 1}'), 10)
        writer.close()


@pytest.mark.parametrize("header", ["host", "authorization"])
@pytest.mark.parametrize("second", ["x", "Bearer b"])
async def test_a_header_that_says_who_is_there_once(header: str, second: str) -> None:
    async with serving(count_the_body) as port:
        name = header.upper().encode()
        once = START + b"authorization: Bearer a\r\ncontent-length: 0\r\n"
        assert (await ask(port, once + b"\r\n"))[0] == 200
        status, answer = await ask(port, once + name + b": " + second.encode() + b"\r\n\r\n")
    error = answer["error"]
    assert isinstance(error, dict)
    assert (status, error["code"], error["param"]) == (400, "duplicate_header", header)


class BigAnswer:
    """Sends ``size`` bytes, whole or as a stream, and says how much of it was taken and when the client was gone."""

    def __init__(self, size: int, piece_bytes: int) -> None:
        self._size = size
        self._piece_bytes = piece_bytes
        self.sent_bytes = 0
        self.gone = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        watch = asyncio.create_task(self._watch(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while self.sent_bytes < self._size and not self.gone.is_set():
            piece = b"z" * min(self._piece_bytes, self._size - self.sent_bytes)
            self.sent_bytes += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        await watch

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


def connect_with_small_buffer(port: int) -> socket.socket:
    client = socket.socket()
    # Small, so that little of the answer waits in the kernel.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    return client


@pytest.mark.parametrize("piece_bytes", [16 * MEBIBYTE, 16 * KIBIBYTE], ids=["whole", "streamed"])
async def test_a_client_that_reads_nothing_is_cut_off(piece_bytes: int) -> None:
    app = BigAnswer(16 * MEBIBYTE, piece_bytes)
    async with serving(app, write_timeout_seconds=0.3) as port:
        with connect_with_small_buffer(port):
            await asyncio.wait_for(app.gone.wait(), 10)
    if piece_bytes < MEBIBYTE:
        # What waits in memory is bounded: the transport takes no more once the client does not.
        assert app.sent_bytes < 8 * MEBIBYTE


async def test_a_client_that_asks_on_and_on_and_reads_nothing_is_cut_off() -> None:
    """Each answer is below the mark at which writing pauses."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send_whole(send, 200, [], b"z" * 60 * KIBIBYTE)

    async with serving(answer, write_timeout_seconds=0.3) as port:
        with connect_with_small_buffer(port) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 500)
            # What has been cut off shows without being read from.
            waiter = select.poll()
            waiter.register(client, select.POLLERR | select.POLLHUP)
            assert await asyncio.to_thread(waiter.poll, 10_000)


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    size = 2 * MEBIBYTE
    app = BigAnswer(size, size)
    async with serving(app, write_timeout_seconds=0.2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=64 * KIBIBYTE)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        got = 0
        while piece := await asyncio.wait_for(reader.read(64 * KIBIBYTE), 5):
            got += piece.count(b"z")
            await asyncio.sleep(0.03)  # slower in all than the time-out, but never silent for so long
        writer.close()
    assert got == size


@pytest.mark.parametrize(
    ("path", "shape"), [(b"/v1/messages", {"type", "error", "request_id"}), (b"/v1/responses", {"error"})]
)
async def test_a_head_that_is_refused_is_so_in_the_shape_of_the_api_that_was_asked(
    path: bytes, shape: set[str]
) -> None:
    async with serving(count_the_body) as port:
        status, answer = await ask(port, b"POST %s HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n" % path)
    assert (status, set(answer)) == (400, shape)
    error = answer["error"]
    assert isinstance(error, dict)
    assert "the header host is there 2 times" in error["message"]
