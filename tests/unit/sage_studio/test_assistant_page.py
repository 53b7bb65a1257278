"""The assistant's page: a conversation that is begun anew, and an answer that cannot be shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sage_apps.assistant.conversation import AssistantConversation, AssistantTurn
from sage_studio.pages import assistant_page, frame


class Element:
    def clear(self) -> None: ...

    def set_value(self, value: str) -> None: ...

    def set_text(self, text: str) -> Element:
        return self

    def set_icon(self, icon: str) -> Element:
        return self


def a_page() -> Any:
    page: Any = assistant_page._AssistantPage.__new__(assistant_page._AssistantPage)
    page._conversation, page._running = AssistantConversation(), None
    page._talk, page._text, page._button = Element(), Element(), Element()
    return page


async def test_what_was_answered_until_it_was_stopped_is_not_in_a_new_conversation() -> None:
    page = a_page()
    under_way = asyncio.Event()

    async def answer(asked: str) -> None:
        conversation = page._conversation
        under_way.set()
        try:
            await asyncio.Event().wait()
        finally:
            conversation.add(AssistantTurn(asked, asked, "half", "quotes", ()))

    page._answer = answer
    sending = asyncio.create_task(page._send("What does a page cost?"))
    await under_way.wait()
    page._clear()
    await asyncio.wait_for(sending, 5.0)
    assert page._conversation.turns == ()
    assert page._running is None


async def test_an_answer_that_cannot_be_shown_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(frame.ui, "notify", lambda text, **_: said.append(text))
    page = a_page()

    async def answer(asked: str) -> None:
        raise RuntimeError("no slot")

    page._answer = answer
    await page._send("What does a page cost?")
    assert said == ["The answer cannot be shown (RuntimeError('no slot')); ask again"]
