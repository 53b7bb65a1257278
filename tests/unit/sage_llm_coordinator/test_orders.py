"""Orders outlive those who gave them."""

from __future__ import annotations

import asyncio

import pytest
from fixtures.eventually import eventually

from sage_common.errors import UnavailableError
from sage_llm_coordinator.orders import Orders


async def test_an_order_is_carried_out_though_its_caller_is_cancelled() -> None:
    orders, begun, go_on, done = Orders(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def order() -> None:
        begun.set()
        await go_on.wait()
        done.set()

    caller = asyncio.create_task(orders.run("removal", order))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await asyncio.wait_for(done.wait(), 5)


async def test_a_failure_reaches_the_caller() -> None:
    async def order() -> None:
        raise UnavailableError("no")

    with pytest.raises(UnavailableError, match="no"):
        await Orders().run("removal", order)


async def test_a_failure_that_nobody_waits_for_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    orders, begun, go_on = Orders(), asyncio.Event(), asyncio.Event()

    async def order() -> None:
        begun.set()
        await go_on.wait()
        raise UnavailableError("the server does not end")

    caller = asyncio.create_task(orders.run("removal of a", order))
    await begun.wait()
    caller.cancel()
    await asyncio.wait({caller})
    go_on.set()
    said: list[str] = []
    await eventually(lambda: said.append(capsys.readouterr().out) or "the server does not end" in "".join(said))


async def test_when_it_stops_it_waits_so_long_and_takes_no_more() -> None:
    orders = Orders()
    waiting = asyncio.create_task(orders.run("removal", asyncio.Event().wait))
    ending = asyncio.Event()
    quick = asyncio.create_task(orders.run("quick removal", ending.wait))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(ending.set)
    await orders.stop(0.05)
    assert await quick is True
    for late in (waiting, orders.run("removal", ending.wait)):
        with pytest.raises(UnavailableError, match="is stopping"):
            await late
