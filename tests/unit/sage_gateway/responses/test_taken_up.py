"""What the events of a response say of how far it came."""

from __future__ import annotations

from typing import Any

import pytest

from sage_common.errors import EngineFailedError
from sage_gateway.responses.response_events import ITEM_DONE, ToldEvent, render_event, split_events
from sage_gateway.responses.taken_up import told_output, told_text

MESSAGE = {"type": "message"}


def told(*events: tuple[str, dict[str, Any]]) -> list[ToldEvent]:
    rendered = (render_event(kind, number, fields) for number, (kind, fields) in enumerate(events))
    return list(split_events(b"".join(rendered)))


def added(item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return ("response.output_item.added", {"item": item})


def done(item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return (ITEM_DONE, {"item": item})


def text(delta: str, logprobs: list[dict[str, Any]] | None = None) -> tuple[str, dict[str, Any]]:
    return ("response.output_text.delta", {"delta": delta, "logprobs": logprobs or []})


def test_a_piece_of_several_words_is_several_tokens() -> None:
    words = told_text(told(added(MESSAGE), text("one"), text(" two")))
    assert (words.text, words.tokens) == ("one two", 2)
    together = told_text(told(added(MESSAGE), text("one two three four five six")))
    assert together.tokens == 5, "an estimate"


def test_a_text_with_log_probabilities_is_not_gone_on_from() -> None:
    with pytest.raises(EngineFailedError, match="log probabilities"):
        told_text(told(added(MESSAGE), text("one", [{"token": "one", "logprob": -0.1}]), text(" two")))


def test_an_answer_is_complete_where_the_end_of_an_item_was_told_last() -> None:
    thought = {"type": "reasoning", "status": "completed"}
    said = {"type": "message", "status": "incomplete"}
    begun = (added(thought), done(thought), added(said), text("one"))
    assert told_output(told()) is None
    assert told_output(told(*begun)) is None
    assert told_output(told(*begun, done(said))) == [thought, said]
