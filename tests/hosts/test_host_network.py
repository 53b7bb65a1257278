"""The network between the hosts: late, lossy, cut, mended; and what a killed run leaves."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_benchmark.hosts.host_network import NAMESPACES, HostNetwork, host_network, remove_stale

pytestmark = pytest.mark.hosts
PORT = 5000
BYTES = 500_000


@pytest.fixture(scope="module")
def network() -> Iterator[HostNetwork]:
    with host_network(2) as network:
        yield network


async def test_packets_are_late_lost_and_kept_back_and_connections_outlive_it(network: HostNetwork) -> None:
    ended = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()
        await writer.wait_closed()
        ended.set()

    network.spoil(delay_ms=20, loss=0.01)
    with network.inside(1):
        server = await asyncio.start_server(echo, network.address(1), PORT)
    with network.inside(2):
        reader, writer = await asyncio.open_connection(network.address(1), PORT)
    began = time.monotonic()
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    assert time.monotonic() - began >= 0.04
    sent = os.urandom(BYTES)
    writer.write(sent)
    # TCP sends again what was lost of some hundred packets.
    assert await asyncio.wait_for(reader.readexactly(BYTES), 30) == sent
    network.cut((1, 2))
    writer.write(b"y")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.5)
    network.mend()
    assert await asyncio.wait_for(reader.readexactly(1), 20) == b"y"
    writer.close()
    await writer.wait_closed()
    await ended.wait()
    server.close()
    await server.wait_closed()


def test_a_host_has_a_name_and_connections_of_its_own(network: HostNetwork) -> None:
    seen = subprocess.run(
        network.command(2, [sys.executable, "-c", "import socket; print(socket.gethostname())"]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.strip() == "host2"
    assert network.processes(2) == []


def test_what_a_killed_run_has_left_is_removed_with_its_processes() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    name = f"sage{ended.pid}h1"
    subprocess.run(["ip", "netns", "add", name], check=True)
    left = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "60"])
    while (
        str(left.pid)
        not in subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True, text=True).stdout.split()
    ):
        assert left.poll() is None
    assert name in remove_stale()
    assert left.wait(10) != 0
    assert not Path(NAMESPACES / name).exists()
