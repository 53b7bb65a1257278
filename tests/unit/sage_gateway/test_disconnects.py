"""Clients that go away, and clients that send too much, byte by byte over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fixtures.engines import CHAT_MODEL
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess

HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


def request(text: str, *, stream: bool = False) -> bytes:
    body = orjson.dumps({"model": CHAT_MODEL, "stream": stream, "messages": [{"role": "user", "content": text}]})
    return f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body


async def read_response(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, Any]]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, orjson.loads(await asyncio.wait_for(reader.readexactly(length), 5))


async def test_a_client_that_leaves_before_the_answer_ends_the_engines_work(mesh: Mesh) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    writer.write(request("please stall"))
    await asyncio.wait_for(mesh.engine.job_arrived.wait(), 5)
    writer.close()
    await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)
    assert mesh.edge.in_flight == 0


async def test_a_client_that_leaves_with_a_large_body_on_its_way_in_is_noticed_too(mesh: Mesh) -> None:
    # Above 64 KiB the server stops reading until it is asked for more, and would not see the end of the connection.
    _, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    writer.write(request("x" * 1_000_000 + " stall"))
    await asyncio.wait_for(mesh.engine.job_arrived.wait(), 5)
    writer.close()
    await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)


async def test_a_client_that_leaves_in_mid_stream_ends_the_engines_work(mesh: Mesh) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    writer.write(request("first wait", stream=True))
    await asyncio.wait_for(reader.readuntil(b"FIRST"), 5)
    writer.transport.abort()
    await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)
    assert mesh.edge.in_flight == 0


async def test_a_client_that_leaves_while_it_sends_its_body_leaves_nothing_behind(mesh: Mesh) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    writer.write(f"{HEAD}content-length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.transport.abort()
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    writer.write(request("still there"))
    assert (await read_response(reader))[0].startswith(b"HTTP/1.1 200")
    writer.close()
    assert len(mesh.engine.jobs) == 1


async def test_an_announced_oversized_body_is_refused_before_it_is_sent(mesh: Mesh) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    writer.write(f"{HEAD}content-length: 99999999999\r\nexpect: 100-continue\r\n\r\n".encode())
    head, body = await read_response(reader)
    assert head.startswith(b"HTTP/1.1 413")
    assert body["error"]["code"] == "request_too_large"
    assert b"connection: close" in head
    writer.close()


async def test_a_client_that_sends_an_oversized_body_to_its_end_still_reads_the_refusal(
    nats_server: NatsProcess,
) -> None:
    async with gateway_mesh(nats_server, max_body_bytes=1024) as mesh:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
        writer.write(f"{HEAD}content-length: 3000000\r\n\r\n".encode())
        for _ in range(3):
            writer.write(b"x" * 1_000_000)
            await asyncio.wait_for(writer.drain(), 5)
        head, body = await read_response(reader)
        assert head.startswith(b"HTTP/1.1 413")
        assert "limit is 1024" in body["error"]["message"]
        # The connection carries the next request.
        writer.write(request("again"))
        assert (await read_response(reader))[0].startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_chunked_body_is_refused_as_soon_as_it_is_over_the_limit(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, max_body_bytes=1024) as mesh:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
        writer.write(f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode())
        for _ in range(3):
            writer.write(b"200\r\n" + b"x" * 512 + b"\r\n")
            await writer.drain()
        assert (await read_response(reader))[0].startswith(b"HTTP/1.1 413")
        writer.close()


async def test_a_chunked_body_within_the_limit_is_taken(mesh: Mesh) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    body = request("in pieces").partition(b"\r\n\r\n")[2]
    writer.write(f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode())
    for start in range(0, len(body), 10):
        part = body[start : start + 10]
        writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    assert (await read_response(reader))[0].startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_body_that_never_ends_is_given_up(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, body_timeout_seconds=0.05) as mesh:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
        writer.write(f"{HEAD}content-length: 100\r\n\r\n{{".encode())
        head, body = await read_response(reader)
        assert head.startswith(b"HTTP/1.1 400")
        assert body["error"]["code"] == "body_timeout"
        writer.close()


async def test_what_is_not_http_is_refused_in_openais_shape(mesh: Mesh) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    writer.write(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n")
    head, body = await read_response(reader)
    assert head.startswith(b"HTTP/1.1 400")
    assert body["error"]["code"] == "invalid_http"
    writer.close()


async def test_a_body_over_the_meshs_own_limit_is_refused_whatever_is_configured(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, max_body_bytes=1 << 30) as mesh:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
        # With blanks: what could be an image goes beside the messages.
        writer.write(request("x " * (mesh.ring.max_item_bytes // 2)))
        assert (await read_response(reader))[0].startswith(b"HTTP/1.1 413")
        writer.close()


async def test_a_body_just_below_the_limit_gets_through_the_whole_mesh(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server) as mesh:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
        writer.write(request("x" * (8 * 1024 * 1024 - 200)))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 200")
        writer.close()
