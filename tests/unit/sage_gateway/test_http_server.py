"""uvicorn inside the service's loop: binding, and an orderly stop."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from sage_common.errors import ConfigurationError
from sage_gateway import http_protocol, http_server
from sage_gateway.asgi import JSON, App, Receive, Scope, Send, send_whole
from sage_gateway.http_server import HttpServer


class SlowApp:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrived.set()
        await self.go_on.wait()
        await send_whole(send, 200, [JSON], b"{}")


def server(app: App, drain_timeout_seconds: float = 5, keep_alive_seconds: int = 5) -> HttpServer:
    return HttpServer(app, keep_alive_seconds=keep_alive_seconds, drain_timeout_seconds=drain_timeout_seconds)


async def test_a_taken_port_is_a_clear_error_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} .* is in use .* SAGE_GATEWAY_PORT") as taken:
            await server(SlowApp()).start("127.0.0.1", port, setting="SAGE_GATEWAY_PORT")
    assert taken.value.code == "port_in_use"


async def test_an_address_of_another_machine_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:0"):
        await server(SlowApp()).start("192.0.2.1", 0, setting="SAGE_GATEWAY_PORT")


async def answer_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    if (await receive())["type"] == "http.request":
        await send_whole(send, 200, [JSON], b"{}")


@pytest.mark.parametrize(
    "sent", [b"", b"POST / HTTP/1.1\r\nhost:", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"]
)
async def test_a_request_that_never_comes_does_not_hold_its_connection_for_ever(sent: bytes) -> None:
    http = server(answer_the_body, keep_alive_seconds=1)
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await asyncio.wait_for(http.stop(), 5)


async def test_an_answer_that_takes_longer_than_an_idle_connection_lasts_is_not_cut_off() -> None:
    app = SlowApp()
    http = server(app, keep_alive_seconds=1)
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # The second request begins and stays unfinished while the first is being answered.
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost:")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(reader.read(1), 1.5)
    app.go_on.set()
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
    writer.close()
    await asyncio.wait_for(http.stop(), 5)


async def test_stopping_finishes_what_is_in_flight_and_accepts_nothing_more() -> None:
    app = SlowApp()
    http = server(app)
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(app.arrived.wait(), 5)
    stopping = asyncio.create_task(http.stop())
    await asyncio.wait_for(_refused(port), 5)
    assert not stopping.done()
    app.go_on.set()
    assert b"200 OK" in await asyncio.wait_for(reader.read(), 5)
    await asyncio.wait_for(stopping, 5)
    writer.close()


async def test_an_idle_connection_does_not_hold_up_the_stop() -> None:
    http = server(SlowApp())
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.wait_for(http.stop(), 2)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


async def test_with_nothing_in_flight_it_stops_without_waiting_for_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "TICK_SECONDS", 60)
    monkeypatch.setattr(http_server, "DRAIN_POLL_SECONDS", 60)
    http = server(SlowApp())
    await http.start("127.0.0.1", 0, setting="X")
    await asyncio.wait_for(http.stop(), 5)


async def test_what_outlasts_the_drain_timeout_is_cut_off() -> None:
    app = SlowApp()
    http = server(app, drain_timeout_seconds=1)
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(app.arrived.wait(), 5)
    await asyncio.wait_for(http.stop(), 5)
    assert b"200 OK" not in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def _refused(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return  # refused, or reset between the kernel's backlog and the closing of the socket
        writer.close()
        await asyncio.sleep(0)


async def test_an_offer_to_upgrade_does_not_cost_the_body() -> None:
    bodies: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        bodies.append(message["body"])
        await send_whole(send, 200, [], b"ok")

    http = server(app)
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST / HTTP/1.1\r\nhost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\ncontent-length: 5\r\n\r\nhello"
    )
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"ok"), 5)
    assert bodies == [b"hello"]
    writer.close()
    await http.stop()


async def _answer_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    await send_whole(send, 200, [JSON], b"{}")


REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_a_replaced_server_answers_what_clients_send_on_open_connections_and_says_that_it_closes() -> None:
    http = server(_answer_at_once)
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    assert b"connection" not in await asyncio.wait_for(reader.readuntil(b"{}"), 5)
    stopping = asyncio.create_task(http.stop(gently=True))
    await asyncio.wait_for(_refused(port), 5)
    # Its client cannot know yet that the server leaves.
    writer.write(REQUEST)
    assert b"connection: close" in await asyncio.wait_for(reader.read(), 5)
    await asyncio.wait_for(stopping, 5)
    writer.close()


async def test_a_server_that_is_replaced_does_not_close_behind_an_answer_that_did_not_say_so() -> None:
    app = SlowStream()
    http = server(app)
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    head = await asyncio.wait_for(reader.readuntil(b"begun\r\n"), 5)
    assert b"connection: close" not in head
    stopping = asyncio.create_task(http.stop(gently=True))
    await asyncio.wait_for(_refused(port), 5)
    app.go_on.set()
    await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
    writer.write(REQUEST)
    assert b"connection: close" in await asyncio.wait_for(reader.read(), 5)
    await asyncio.wait_for(stopping, 5)
    writer.close()


async def test_an_idle_connection_to_a_server_that_is_replaced_is_closed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "LEAVING_SECONDS", 0)
    http = server(_answer_at_once)
    port = await http.start("127.0.0.1", 0, setting="X")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    await asyncio.wait_for(reader.readuntil(b"{}"), 5)
    await asyncio.wait_for(http.stop(gently=True), 2)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


class SlowStream(SlowApp):
    """Begins an answer at once and ends it when it is told to."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": b""})


async def test_what_waits_in_a_shared_socket_is_accepted_by_the_next_server() -> None:
    held = [socket.socket(family, socket.SOCK_STREAM) for family in (socket.AF_INET, socket.AF_INET6)]
    try:
        first = server(_answer_at_once)
        port = await first.start("127.0.0.1", 0, setting="X", descriptors=[os.dup(one.fileno()) for one in held])
        await first.stop(gently=True)
        # Nobody accepts now, and the connection is made all the same.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        second = server(_answer_at_once)
        again = await second.start("127.0.0.1", port, setting="X", descriptors=[os.dup(one.fileno()) for one in held])
        assert again == port
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"{}"), 5)
        writer.close()
        await second.stop()
    finally:
        for one in held:
            one.close()


async def test_a_taken_port_is_a_clear_error_for_a_shared_socket_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder, socket.socket() as held:
        port = holder.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} .* is in use"):
            await server(SlowApp()).start("127.0.0.1", port, setting="X", descriptors=[os.dup(held.fileno())])
