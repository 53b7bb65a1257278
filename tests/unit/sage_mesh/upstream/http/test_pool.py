"""Connections are bounded in number, given in turn, and made over TLS where the URL says so."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sage_common.ports import free_port
from sage_mesh.upstream.http import pool as pools
from sage_mesh.upstream.http.client import HttpClient
from sage_platform.mesh_tls.authority import Authority

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

Serve = Callable[..., Awaitable[Any]]
Connect = Callable[..., HttpClient]


async def post(client: HttpClient, url: str) -> bytes:
    async with client.post(f"{url}/v1/x", b"{}", {}) as answer:
        return await answer.read()


class Gate:
    """A script that answers a request when it is let through.

    Attributes:
        arrived: how many requests have come.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self._open = asyncio.Semaphore(0)

    async def __call__(self, peer: Any) -> None:
        while True:
            await peer.request()
            self.arrived += 1
            await self._open.acquire()
            await peer.send(WHOLE)

    def let(self, requests: int) -> None:
        for _ in range(requests):
            self._open.release()


async def until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():  # noqa: ASYNC110 - the thing waited for has no event
            await asyncio.sleep(0.002)

    await asyncio.wait_for(poll(), 5)


async def test_what_is_beyond_the_limit_waits_its_turn_and_connections_are_used_again(
    serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    server = await serve(gate)
    client = connect(server.url, limit=2)
    tasks = [asyncio.create_task(post(client, server.url)) for _ in range(5)]
    await until(lambda: gate.arrived == 2)
    for done in range(1, 6):
        gate.let(1)
        await until(lambda done=done: sum(task.done() for task in tasks) == done)  # type: ignore[misc]
    assert [task.result() for task in tasks] == [b"{}"] * 5
    assert server.connections == 2


async def test_who_does_not_get_a_connection_in_time_is_told(serve: Serve, connect: Connect) -> None:
    gate = Gate()
    server = await serve(gate)
    client = connect(server.url, limit=1, connect_seconds=0.1)
    first = asyncio.create_task(post(client, server.url))
    await until(lambda: gate.arrived == 1)
    with pytest.raises(asyncio.TimeoutError):
        await post(client, server.url)
    gate.let(2)
    assert await first == b"{}"
    assert await post(client, server.url) == b"{}"


@pytest.mark.parametrize("at_the_same_time", [True, False])
async def test_who_is_cancelled_while_waiting_keeps_nobody_from_a_turn(
    serve: Serve, connect: Connect, at_the_same_time: bool
) -> None:
    gate = Gate()
    server = await serve(gate)
    client = connect(server.url, limit=1)
    tasks = [asyncio.create_task(post(client, server.url)) for _ in range(3)]
    await until(lambda: gate.arrived == 1)
    if not at_the_same_time:
        tasks[1].cancel()
    gate.let(3)
    await until(lambda: tasks[0].done())
    tasks[1].cancel()
    assert await asyncio.wait_for(tasks[2], 5) == b"{}"
    await asyncio.gather(tasks[1], return_exceptions=True)
    gate.let(1)
    assert await asyncio.wait_for(post(client, server.url), 5) == b"{}"


async def test_a_connection_that_breaks_makes_room_for_another(serve: Serve, connect: Connect) -> None:
    async def script(peer: Any) -> None:
        await peer.request()
        if peer.number < 3:
            peer.writer.transport.abort()
        else:
            await peer.send(WHOLE)

    server = await serve(script)
    client = connect(server.url, limit=1)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await post(client, server.url)
    assert await post(client, server.url) == b"{}"


async def test_a_connection_that_is_closed_before_a_request_is_sent_is_a_failure(
    serve: Serve, connect: Connect
) -> None:
    async def script(peer: Any) -> None:
        if peer.number == 2:
            await peer.request()
            await peer.send(WHOLE)
        peer.writer.transport.abort()

    server = await serve(script)
    client = connect(server.url, limit=1)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await post(client, server.url)
    assert await post(client, server.url) == b"{}"


async def test_a_server_that_is_not_there_refuses_every_time(connect: Connect) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    client = connect(url, limit=1)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await post(client, url)


async def test_a_name_that_is_not_known_is_an_error_of_the_system(connect: Connect) -> None:
    url = "http://engine.invalid:8001"
    with pytest.raises(OSError, match=r"."):
        await post(connect(url), url)


async def test_a_name_is_resolved_and_the_address_that_answers_is_taken(serve: Serve, connect: Connect) -> None:
    """Of localhost's addresses only IPv4's is listened at."""
    gate = Gate()
    gate.let(2)
    server = await serve(gate)
    url = f"http://localhost:{server.port}"
    client = connect(url)
    assert [await post(client, url) for _ in range(2)] == [b"{}"] * 2


# TLS


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for localhost, and the file of the authority that has signed its certificate."""
    now = datetime.datetime.now(datetime.timezone.utc)
    authority = Authority.make(now)
    issued = authority.issue("engine", hosts=["localhost"], identity="", clients=False, now=now, days=1)
    (tmp_path / "ca.pem").write_bytes(authority.pem.certificate)
    (tmp_path / "engine.pem").write_bytes(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "engine.pem")
    return context, tmp_path / "ca.pem"


@pytest.fixture
def trusted(certified: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trust that authority, as a system does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certified[1]))
    pools.tls_context.cache_clear()
    yield
    pools.tls_context.cache_clear()


@pytest.mark.usefixtures("trusted")
async def test_tls_is_spoken_where_the_url_says_so(
    serve: Serve, connect: Connect, certified: tuple[ssl.SSLContext, Path]
) -> None:
    async def script(peer: Any) -> None:
        while True:
            _, body = await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    server = await serve(script, ssl=certified[0])
    url = f"https://localhost:{server.port}"
    client = connect(url)
    body = bytes(range(256)) * 8192
    for _ in range(2):
        async with client.post(f"{url}/v1/x", body, {}) as answer:
            assert await answer.read() == body
    assert server.connections == 1


async def test_a_certificate_that_nobody_trusts_is_refused(
    serve: Serve, connect: Connect, certified: tuple[ssl.SSLContext, Path]
) -> None:
    server = await serve(Gate(), ssl=certified[0])
    url = f"https://localhost:{server.port}"
    with pytest.raises(ssl.SSLCertVerificationError):
        await post(connect(url), url)


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_for_another_name_is_refused(
    serve: Serve, connect: Connect, certified: tuple[ssl.SSLContext, Path]
) -> None:
    server = await serve(Gate(), ssl=certified[0])
    url = f"https://127.0.0.1:{server.port}"
    with pytest.raises(ssl.SSLCertVerificationError):
        await post(connect(url), url)
