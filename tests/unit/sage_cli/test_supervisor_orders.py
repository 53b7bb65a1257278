from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fixtures.eventually import eventually

from sage_cli.mesh.gateway_listeners import DESCRIPTORS, GatewayListeners
from sage_cli.mesh.rolling_restart import chosen_services
from sage_cli.mesh.services import SERVICES
from sage_cli.mesh.supervisor_orders import OrderServer, RestartOrder, give_order, orders_socket
from sage_common.errors import ConfigurationError, ConflictError, InvalidRequestError, UnavailableError
from sage_platform.supervision.process_spec import ProcessSpec

ORDER = RestartOrder(("classifier",), 5.0)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Restarts:
    """Carries orders out when it may."""

    def __init__(self, error: Exception | None = None) -> None:
        self.orders: list[RestartOrder] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self._error = error

    async def __call__(self, order: RestartOrder, tell: Callable[[str], None]) -> Sequence[str]:
        self.orders.append(order)
        tell("classifier: starting")
        self.begun.set()
        await self.go_on.wait()
        if self._error is not None:
            raise self._error
        return ["classifier"]


@asynccontextmanager
async def serving(restarts: Restarts) -> AsyncIterator[OrderServer]:
    server = OrderServer(restarts)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def answers(order: RestartOrder = ORDER) -> list[tuple[str, list[str]]]:
    return [answer async for answer in give_order(order)]


async def test_an_order_is_carried_out_and_its_caller_told_how_far_it_is() -> None:
    restarts = Restarts()
    restarts.go_on.set()
    async with serving(restarts):
        assert await answers() == [("classifier: starting", []), ("", ["classifier"])]
    assert restarts.orders == [ORDER]
    assert not orders_socket().exists()


async def test_a_second_order_is_refused_while_one_is_carried_out() -> None:
    restarts = Restarts()
    async with serving(restarts):
        first = asyncio.create_task(answers())
        await asyncio.wait_for(restarts.begun.wait(), 5)
        with pytest.raises(ConflictError, match="under way already"):
            await answers()
        restarts.go_on.set()
        assert (await first)[-1] == ("", ["classifier"])


async def test_an_order_goes_on_when_its_caller_leaves() -> None:
    restarts = Restarts()
    async with serving(restarts):
        caller = asyncio.create_task(answers())
        await asyncio.wait_for(restarts.begun.wait(), 5)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        restarts.go_on.set()

        async def taken() -> bool:
            with contextlib.suppress(ConflictError):
                await answers()
            return len(restarts.orders) == 2

        # The next is taken once the first is done.
        await eventually(taken, seconds=5)


async def test_what_fails_is_told_in_its_own_words() -> None:
    restarts = Restarts(UnavailableError("the new process does not serve static; the old one runs on"))
    restarts.go_on.set()
    async with serving(restarts):
        with pytest.raises(UnavailableError, match="the old one runs on"):
            await answers()


async def test_a_supervisor_that_stops_says_so() -> None:
    restarts = Restarts()
    async with serving(restarts) as server:
        caller = asyncio.create_task(answers())
        await asyncio.wait_for(restarts.begun.wait(), 5)
        await server.stop()
        with pytest.raises(UnavailableError, match="being stopped"):
            await caller


async def test_without_a_supervisor_that_takes_orders_the_message_says_what_to_look_at() -> None:
    with pytest.raises(UnavailableError, match=r"takes no orders .*`sage status`"):
        await answers()


async def test_what_is_no_order_is_refused() -> None:
    async with serving(Restarts()):
        reader, writer = await asyncio.open_unix_connection(orders_socket())
        writer.write(b"restart!\n")
        assert b"not understood" in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


def test_gateways_are_restarted_last_and_nats_never() -> None:
    assert chosen_services([])[-1] == "gateway"
    assert len(chosen_services([])) == len(SERVICES)
    assert chosen_services(["gateway", "llm_coordinator"]) == ["llm-coordinator", "gateway"]
    with pytest.raises(InvalidRequestError, match="sage down"):
        chosen_services(["nats"])
    with pytest.raises(ConfigurationError, match="clasifier"):
        chosen_services(["clasifier"])


@pytest.mark.parametrize("shared", [True, False])
def test_gateways_are_given_sockets_of_their_own_or_the_same_and_other_services_none(shared: bool) -> None:
    listeners = GatewayListeners()
    specs = [ProcessSpec(name, name.partition("-")[0], ()) for name in ("gateway", "gateway-2", "classifier")]
    try:
        first, second, other = listeners.given(specs, shared=shared)
        assert (first.descriptors == second.descriptors) is shared
        assert first.environment[DESCRIPTORS] == str(list(first.descriptors))
        with socket.socket(fileno=os.dup(first.descriptors[0])) as given:
            assert given.family == socket.AF_INET
        assert (other.descriptors, other.environment) == ((), {})
    finally:
        listeners.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first.descriptors[0])
