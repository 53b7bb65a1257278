"""The page of What if: what it plays, and an hour that cannot be played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from nicegui import ui

from sage_common.errors import DeadlineExceededError
from sage_studio.pages import what_if_page
from sage_studio.what_if import Change


class _Recorded:
    policy = "fifo"
    engines = 2


class _Element:
    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.enabled = True

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def clear(self) -> None:
        pass

    def set_visibility(self, visible: bool) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def a_page(
    policy: str = "hybrid",
    second: str | None = None,
    engines: int | None = None,
    ttft: int | None = None,
    playing: Callable[..., Awaitable[None]] | None = None,
) -> Any:
    page: Any = what_if_page._WhatIf.__new__(what_if_page._WhatIf)
    page._result, page._button, page._playing = _Element(), _Element(), None
    page._policy, page._second, page._engines, page._ttft = map(_Element, (policy, second, engines, ttft))
    page._recorded = lambda: _Recorded()
    page._simulations = SimpleNamespace(played=playing)
    return page


def test_two_policies_get_the_same_arrivals_engines_and_targets() -> None:
    changes = a_page("hybrid", "priority", 3, 500)._changes(_Recorded())
    assert changes == {
        "simulated as it was": Change("fifo", 2),
        "what if hybrid": Change("hybrid", 3, 500),
        "what if priority": Change("priority", 3, 500),
    }


@pytest.mark.parametrize("second", [None, "hybrid"])
def test_one_policy_is_played_once(second: str | None) -> None:
    changes = a_page("hybrid", second)._changes(_Recorded())
    assert list(changes) == ["simulated as it was", "what if"]
    assert changes["what if"] == Change("hybrid", 2)


@pytest.mark.parametrize(("asked", "played"), [(1_000_000, what_if_page.MOST_ENGINES), (-3, 1)])
def test_engines_are_bounded_whatever_a_browser_sends(asked: int, played: int) -> None:
    assert a_page("hybrid", engines=asked)._changes(_Recorded())["what if"] == Change("hybrid", played)


async def test_an_hour_that_cannot_be_played_is_said_and_can_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    async def too_long(*_: Any) -> None:
        raise DeadlineExceededError("the hour was not played within 120 s; choose more engines")

    monkeypatch.setattr(ui, "spinner", lambda: None)
    monkeypatch.setattr(what_if_page, "empty", said.append)
    page = a_page(playing=too_long)
    await page._play()
    assert said == ["The hour was not played within 120 s; choose more engines."]
    assert page._button.enabled


async def test_whoever_leaves_the_page_stops_what_it_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def for_ever(*_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(ui, "spinner", lambda: None)
    page = a_page(playing=for_ever)
    task = asyncio.create_task(page._play())
    await begun.wait()
    page._stop()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert page._button.enabled
