"""A request whose page goes on asking."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from nicegui import Client, ui

from sage_common.errors import UnavailableError
from sage_studio.pages.request_page import _RequestPage


class _Management:
    """Fails, each time for another reason."""

    def __init__(self) -> None:
        self._reasons = iter(("the gateway does not answer", "the gateway starts"))

    async def explain(self, _request_id: str) -> list[Any]:
        raise UnavailableError(next(self._reasons))


async def test_an_error_is_shown_and_does_not_end_the_updates() -> None:
    access = SimpleNamespace(management=_Management(), feed=SimpleNamespace(engines=(), requests={}, version=0))
    client = Client(ui.page("/"), request=None)
    with client:
        page = _RequestPage(SimpleNamespace(access=access), ["r"])  # type: ignore[arg-type]
        await page.update()
        assert page._told == ["the gateway does not answer"]
        assert page._timer.active
        await page.update()
        assert page._told == ["the gateway starts"]
    page._timer.cancel()
    client.delete()
