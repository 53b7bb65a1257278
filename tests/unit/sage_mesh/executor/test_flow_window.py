"""How much of an answer is sent ahead of its consumer."""

from __future__ import annotations

import asyncio

import pytest

from sage_mesh.executor.flow_window import FlowWindow
from sage_mesh.reply import HIGH_WATER_BYTES


async def test_it_is_full_with_what_its_consumer_has_not_taken() -> None:
    window = FlowWindow()
    window.on_sent(HIGH_WATER_BYTES - 1)
    assert not window.full
    window.on_sent(1)
    assert window.full
    window.on_taken(1)
    assert not window.full
    window.on_sent(1)
    # Word that overtook another, or is repeated.
    window.on_taken(0)
    window.on_taken(1)
    assert window.full


async def test_who_waits_goes_on_when_enough_was_taken() -> None:
    window = FlowWindow()
    await window.until_open()
    window.on_sent(HIGH_WATER_BYTES + 10)
    waiting = asyncio.create_task(window.until_open())
    window.on_taken(10)
    await asyncio.sleep(0)
    assert not waiting.done()
    window.on_taken(11)
    await asyncio.wait_for(waiting, 10)


async def test_nor_does_it_wait_for_an_edge_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sage_mesh.executor.flow_window.SILENCE_SECONDS", 0.01)
    window = FlowWindow()
    window.on_sent(HIGH_WATER_BYTES)
    await asyncio.wait_for(window.until_open(), 10)
    assert not window.full


async def test_an_attempt_that_is_cancelled_waits_no_more() -> None:
    window = FlowWindow()
    window.on_sent(HIGH_WATER_BYTES)
    waiting = asyncio.create_task(window.until_open())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    window.on_taken(HIGH_WATER_BYTES)
