"""Times of an answer as it streams, and the request as code."""

from __future__ import annotations

import ast
import json
import shlex

import pytest

from sage_studio.answer import StreamedAnswer
from sage_studio.snippets import as_curl, as_openai, as_sage

SAID = [{"role": "user", "content": 'What\'s "this"?\nAnd $HOME?'}]


def test_times_are_known_as_soon_as_they_can_be() -> None:
    answer = StreamedAnswer(asked_at=10.0)
    answer.add("", 10.1)
    assert (answer.ttft_ms, answer.tpot_ms) == (None, None)
    answer.add("a", 10.5)
    assert (answer.ttft_ms, answer.tpot_ms) == (500.0, None)
    answer.add("b", 10.75)
    assert (answer.text, answer.tpot_ms) == ("ab", 250.0)
    answer.tokens = 6
    assert answer.tpot_ms == 50.0


@pytest.mark.parametrize("needs_key", [True, False])
def test_the_code_says_what_was_asked(needs_key: bool) -> None:
    curl = as_curl("http://h:1", "/v1/chat/completions", {"messages": SAID}, needs_key=needs_key)
    words = shlex.split(curl.replace("\\\n", " "))
    assert json.loads(words[-1]) == {"messages": SAID}
    assert ("$SAGE_KEY" in curl) is needs_key
    for code in (
        as_sage("http://h:1", SAID, {"model": "m", "max_tokens": 5}, needs_key=needs_key),
        as_openai("http://h:1", SAID, {"model": "m", "max_tokens": 5}, needs_key=needs_key),
    ):
        literals = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
        assert SAID[0]["content"] in literals
        assert {"m", 5} <= set(literals)
        assert ("SAGE_KEY" in literals) is needs_key
