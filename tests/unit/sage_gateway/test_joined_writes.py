"""The head of an answer leaves with the beginning of its body, and at the latest at the end of its turn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from sage_gateway.joined_writes import JoinedWrites

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Connection:
    """Both ends of a real connection.."""

    def __init__(self, transport: JoinedWrites, peer: socket.socket) -> None:
        self.transport = transport
        self.peer = peer

    def received(self) -> bytes:
        """Return what has arrived since the last call."""
        try:
            return self.peer.recv(65536)
        except BlockingIOError:
            return b""


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    loop = asyncio.get_running_loop()
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    peer.setblocking(False)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
    yield Connection(JoinedWrites(transport, loop), peer)
    transport.abort()
    peer.close()


async def test_a_head_leaves_with_its_body(connection: Connection) -> None:
    connection.transport.write(HEAD)
    assert connection.received() == b""
    assert connection.transport.get_write_buffer_size() == len(HEAD)
    connection.transport.write(b"{}")
    assert connection.received() == HEAD + b"{}"
    await asyncio.sleep(0)
    assert connection.received() == b""


async def test_a_head_alone_leaves_at_the_end_of_the_turn(connection: Connection) -> None:
    connection.transport.write(HEAD)
    await asyncio.sleep(0)
    assert connection.received() == HEAD
    connection.transport.write(b"{}")
    assert connection.received() == b"{}"


async def test_what_is_no_head_leaves_at_once(connection: Connection) -> None:
    connection.transport.write(b"data: 1\n\n")
    assert connection.received() == b"data: 1\n\n"


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_an_orderly_end_sends_the_head_first(connection: Connection, end: str) -> None:
    connection.transport.write(HEAD)
    getattr(connection.transport, end)()
    assert connection.received() == HEAD


async def test_an_aborted_connection_sends_nothing_more(connection: Connection) -> None:
    connection.transport.write(HEAD)
    connection.transport.abort()
    await asyncio.sleep(0)
    assert connection.received() == b""
