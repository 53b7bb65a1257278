"""A port that only a connection holds is waited for; one that something listens on is not."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fixtures.eventually import eventually

from sage_common.errors import ConfigurationError, UnavailableError
from sage_platform import grpc_server
from sage_platform.grpc_server import GrpcServer
from sage_platform.port_wait import connection_on, wait_for_port

SETTING = "SAGE_CLASSIFIER_GRPC_PORT"
HOST = "127.0.0.1"


@dataclass
class Outgoing:
    """A connection to a server, whose local port the system has chosen."""

    listener: socket.socket
    client: socket.socket
    accepted: socket.socket

    @property
    def port(self) -> int:
        return int(self.client.getsockname()[1])

    @property
    def peer(self) -> str:
        return f"{HOST}:{self.listener.getsockname()[1]}"

    def end(self) -> None:
        """End it from the server's side, so that nothing of it stays at the client's."""
        self.accepted.close()
        assert self.client.recv(1) == b""
        self.client.close()


@pytest.fixture
def outgoing() -> Iterator[Outgoing]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with client, accepted:
            yield Outgoing(listener, client, accepted)


async def test_a_grpc_server_takes_its_port_once_the_connection_that_held_it_has_ended(
    outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Log:
        """What the server says; where other tests have sent their logs does not matter."""

        warning = staticmethod(told.append)

    monkeypatch.setattr(grpc_server, "log", Log)
    server, port = GrpcServer(), outgoing.port
    starting = asyncio.create_task(server.start(HOST, port, setting=SETTING))
    await eventually(lambda: any("waiting for its end" in text for text in told))
    outgoing.end()
    assert await asyncio.wait_for(starting, 10) == port
    await server.stop(0)


async def test_what_is_waited_for_is_said_once_with_whose_it_is_and_the_wait_ends(outgoing: Outgoing) -> None:
    told: list[str] = []
    with pytest.raises(UnavailableError, match=f"{SETTING}.*ip_local_reserved_ports={outgoing.port}") as caught:
        await wait_for_port(HOST, outgoing.port, SETTING, tell=told.append, wait_seconds=0.4)
    assert caught.value.code == "port_in_use"
    (text,) = told
    assert f"(pid {os.getpid()}) to {outgoing.peer}; waiting for its end" in text


def test_a_connection_that_has_ended_and_still_holds_its_port_is_told_so(outgoing: Outgoing) -> None:
    port = outgoing.port
    outgoing.client.close()
    assert outgoing.accepted.recv(1) == b""
    outgoing.accepted.close()
    assert connection_on(port) == (
        f"a connection to {outgoing.peer} that has ended, which the system keeps for a minute"
    )


async def test_a_port_that_something_listens_on_is_refused_at_once(outgoing: Outgoing) -> None:
    port, server = int(outgoing.listener.getsockname()[1]), GrpcServer()
    assert connection_on(port) is None
    with pytest.raises(ConfigurationError, match=f"in use by another program.*{SETTING}"):
        await wait_for_port(HOST, port, SETTING, tell=pytest.fail)
    with pytest.raises(ConfigurationError, match=f"in use by another program.*{SETTING}"):
        await server.start(HOST, port, setting=SETTING)
    await server.stop(0)


async def test_a_free_port_is_not_waited_for(outgoing: Outgoing) -> None:
    port = outgoing.port
    outgoing.end()
    found = connection_on(port)
    # Other processes of the machine may be given it at once.
    assert found is None or f"(pid {os.getpid()})" not in found
    await wait_for_port(HOST, port, SETTING, tell=pytest.fail)
