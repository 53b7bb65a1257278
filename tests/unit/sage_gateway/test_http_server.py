"""uvicorn inside the service's loop: binding, and an orderly stop."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sage_common.errors import ConfigurationError
from sage_gateway import http_server
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
