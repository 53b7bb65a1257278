"""Connecting to NATS, and staying connected, against a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fixtures.nats import start_nats
from nats.aio.client import Client

from sage_common.errors import UnavailableError
from sage_common.ports import free_port
from sage_common.service_settings import NatsSettings
from sage_platform.nats_connection import connect


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
