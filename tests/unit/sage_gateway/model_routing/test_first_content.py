"""Whether a stream has said anything."""

from __future__ import annotations

import pytest

from sage_gateway.model_routing.first_content import FirstContent

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (ROLE, False),
        (b": comment\n\n", False),
        (b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', False),
        (b"data: [DONE]\n\n", False),
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', True),
        (b'data: {"choices":[{"delta":{"reasoning_content":"a"}}]}\n\n', True),
        (b'data: {"choices":[{"delta":{"thoughts_as_this_engine_calls_them":"a"}}]}\n\n', True),
        (b'data: {"choices":[{"index":1,"text":"","logprobs":{"tokens":[]},"finish_reason":null}]}\n\n', False),
        (b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n', True),
        (b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', True),
        (b'data: {"choices":[{"text":"a"}]}\n\n', True),
        (b"data: what is this\n\n", True),
    ],
)
def test_a_role_is_not_content(event: bytes, says: bool) -> None:
    assert FirstContent().is_in(event) is says


def test_an_event_may_come_in_pieces() -> None:
    said = FirstContent()
    assert not said.is_in(ROLE + b'data: {"choices":[{"delta":{"con')
    assert said.is_in(b'tent":"a"}}]}\n\n')
