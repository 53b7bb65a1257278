"""Connecting to NATS, and staying connected, against a real server."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from fixtures.nats import start_nats
from nats.aio.client import Client

from sage_common import paths
from sage_common.errors import UnauthenticatedError, UnavailableError
from sage_common.ports import free_port
from sage_common.service_settings import NatsSettings
from sage_common.tls_settings import mesh_servers_file
from sage_platform import nats_connection
from sage_platform.nats_cluster import GIVEN_SERVERS
from sage_platform.nats_connection import connect, names_own_server


@pytest.mark.timeout(20)
async def test_a_missing_server_is_an_error_that_says_what_to_do() -> None:
    settings = NatsSettings(url=f"nats://127.0.0.1:{free_port()}", connect_timeout_seconds=0.5)

    with pytest.raises(UnavailableError, match=r"no NATS server answers at .*SAGE_NATS_URL") as caught:
        await connect(settings, name="test")

    assert caught.value.code == "nats_unreachable"


@pytest.mark.timeout(60)
async def test_a_connection_outlives_many_failed_attempts_to_reconnect(tmp_path: Path) -> None:
    server = start_nats(tmp_path)
    back = asyncio.Event()

    async def on_reconnect() -> None:
        back.set()

    try:
        connection = await connect(NatsSettings(url=server.url), name="test", on_reconnect=on_reconnect)
        server.kill()
        await asyncio.wait_for(_attempts(connection, 4), 20)
        server.start_again()
        await asyncio.wait_for(back.wait(), 20)
        assert connection.is_connected
        await connection.close()
    finally:
        server.stop()


async def _attempts(connection: Client, number: int) -> None:
    while connection.server_pool[0].reconnects < number:  # noqa: ASYNC110 - the client tells nobody
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("written", "asked", "own"),
    [
        ("nats://127.0.0.1:4222", "nats://localhost:4222", True),
        ("nats://127.0.0.1:4222", "nats://localhost", True),
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4223", False),
        ("nats://gpu1.lab:4222", "nats://GPU1.lab:4222/", True),
        ("nats://gpu1.lab:4222", "nats://localhost:4222", False),
        ("nats://gpu1.lab:4222", "nats://gpu1.lab:99999", False),
    ],
)
def test_a_server_of_the_mesh_is_known_by_each_of_its_names(written: str, asked: str, own: bool) -> None:
    paths.private_dir(mesh_servers_file().parent)
    mesh_servers_file().write_text(f"{written}\n")
    assert names_own_server([asked]) is own


async def test_a_server_that_is_left_in_the_middle_of_a_message_does_not_end_the_reconnecting() -> None:
    heard: list[Exception] = []

    async def on_error(error: Exception) -> None:
        heard.append(error)

    client = Client()
    told = nats_connection._quiet_until_connected(client, on_error, [], NatsSettings(url="nats://127.0.0.1:1"))
    late = ssl.SSLError(1, "[SSL: APPLICATION_DATA_AFTER_CLOSE_NOTIFY] application data after close notify")
    with pytest.raises(UnauthenticatedError):
        await told(late)
    # Between two servers nats-py is neither connected nor reconnecting for some moments.
    client.options[GIVEN_SERVERS] = 3
    await told(late)
    assert heard == [late]
