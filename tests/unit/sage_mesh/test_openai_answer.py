"""Reading what an OpenAI-compatible engine answers."""

from __future__ import annotations

import pytest

from sage_common.errors import EngineFailedError
from sage_mesh.openai_answer import read_delta, read_usage
from sage_mesh.reply import TokenUsage


def test_the_pieces_of_a_chat_and_of_a_completion_are_read() -> None:
    assert read_delta('{"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}').text == "hi"
    assert read_delta('{"choices":[{"text":"hi","finish_reason":"stop"}]}') == ("hi", "stop", None)
    assert read_delta('{"choices":[{"delta":{"role":"assistant"}}]}').text == ""
    usage = (
        '{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}}'
    )
    assert read_delta(usage).usage == TokenUsage(5, 2, 3)


@pytest.mark.parametrize("data", ["<html>", "[]", '{"error":{"message":"out of memory"}}'])
def test_what_is_no_piece_is_an_engine_failure(data: str) -> None:
    with pytest.raises(EngineFailedError):
        read_delta(data)


def test_usage_that_is_missing_or_odd_is_not_invented() -> None:
    assert read_usage(None) is None
    assert read_usage({"prompt_tokens": None, "completion_tokens": -1, "prompt_tokens_details": None}) == TokenUsage()
