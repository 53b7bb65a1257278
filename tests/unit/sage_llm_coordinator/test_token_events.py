"""The tokens of a text are known wherever its stream breaks off, and the caller sees none; events as vLLM 0.32's."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.engines.chat_events import chat_events
from sage_llm_coordinator.engines.token_events import TokenEvents, with_token_ids
from sage_llm_coordinator.engines.token_prompt import token_prompt
from sage_mesh.engine import DeliveredTokens


def event(text: str, ids: str, finish: str = "null") -> bytes:
    content = orjson.dumps(text)
    return (
        b'data: {"choices":[{"index":0,"delta":{"content":%b},"logprobs":null,"finish_reason":%b,"token_ids":%b}]}\n\n'
        % (content, finish.encode(), ids.encode())
    )


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
ASKED = [
    ROLE + b',"prompt_token_ids":[4,204],"prompt_text":null}\n\n',
    event("a", "[1]"),
    event("", "[2]"),
    event("ä", "[3]"),
    b'data: {"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":null,"token_ids":[4]}]}\n\n',
    event(' "token_ids":[9]', "[5,6]"),
    event("", "[7]", '"stop"'),
    b"data: [DONE]\n\n",
]
PLAIN = [
    ROLE + b',"prompt_token_ids":null,"prompt_text":null}\n\n',
    event("a", "null"),
    event("", "null"),
    event("ä", "null"),
    b"",
    event(' "token_ids":[9]', "null"),
    event("", "null", '"stop"'),
    b"data: [DONE]\n\n",
]
KNOWN = [[], [1], [1], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]]


@given(st.integers(0, len(ASKED)), st.lists(st.integers(0, len(ASKED)), max_size=4))
def test_the_tokens_named_are_those_of_the_text_told(end: int, places: list[int]) -> None:
    tokens = TokenEvents()
    bounds = sorted({0, end, *(place for place in places if place < end)})
    told, ids = b"", []
    for start, stop in pairwise(bounds):
        told += tokens.take(b"".join(ASKED[start:stop]))
        ids += tokens.ids()
    assert told == b"".join(PLAIN[:end])
    assert ids == (KNOWN[end - 1] if end else [])


@pytest.mark.parametrize("field", [b'"stop":["x"]', b'"echo":true', b'"return_token_ids":true', b'"tools":[]'])
def test_tokens_that_would_be_of_no_use_are_not_asked_for(field: bytes) -> None:
    body = b'{"model":"m",' + field + b"}"
    assert with_token_ids(body) is body


def test_tokens_are_asked_for_at_the_bodys_end() -> None:
    assert with_token_ids(b'{"model":"m" }\n') == b'{"model":"m","return_token_ids":true}'


def test_a_chat_goes_on_as_a_completion_of_its_tokens() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "güt"}]
    body = {"model": "m", "messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    plan = token_prompt(Endpoint.CHAT_COMPLETIONS, orjson.dumps({**body, "seed": 1}), DeliveredTokens((8, 9), 3))
    assert plan is not None
    assert orjson.loads(plan.tokenize) == {"model": "m", "messages": messages[:1]}
    assert orjson.loads(plan.body([1, 2], 100)) == {"model": "m", "seed": 1, "max_tokens": 96, "prompt": [1, 2, 8, 9]}


def test_an_answer_that_the_caller_began_is_cut_where_the_engine_went_on() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Sure: güt"}]
    body = {
        "model": "m",
        "messages": messages,
        "continue_final_message": True,
        "add_generation_prompt": False,
        "max_completion_tokens": 5,
    }
    plan = token_prompt(Endpoint.CHAT_COMPLETIONS, orjson.dumps(body), DeliveredTokens((8,), 3))
    assert plan is not None
    asked = orjson.loads(plan.tokenize)
    assert asked["messages"] == [messages[0], {"role": "assistant", "content": "Sure: "}]
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert orjson.loads(plan.body([1], 100)) == {"model": "m", "max_tokens": 5, "prompt": [1, 8]}


def test_a_completion_goes_on_from_its_prompts_tokens() -> None:
    body = orjson.dumps({"model": "m", "prompt": ["go güt"], "max_tokens": 4})
    plan = token_prompt(Endpoint.COMPLETIONS, body, DeliveredTokens((8,), 4))
    assert plan is not None
    assert orjson.loads(plan.tokenize) == {"model": "m", "prompt": "go"}
    assert orjson.loads(plan.body([1], 100)) == {"model": "m", "prompt": [1, 8], "max_tokens": 4}


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "assistant", "content": "a"}], "documents": [{"text": "x"}]},
        {"messages": [{"role": "assistant", "content": "a"}], "reasoning_effort": "low"},
    ],
)
def test_what_is_not_text_alone_goes_on_from_text(fields: dict[str, object]) -> None:
    assert token_prompt(Endpoint.CHAT_COMPLETIONS, orjson.dumps(fields), DeliveredTokens((8,), 1)) is None


def test_a_completions_events_become_a_chats() -> None:
    completion = (
        b'data: {"id":"c","object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":null,'
        b'"prompt_token_ids":[1],"token_ids":[2]}]}\n\ndata: [DONE]\n\n'
    )
    first, done, _ = chat_events(completion).split(b"\n\n")
    assert orjson.loads(first.removeprefix(b"data: ")) == {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "finish_reason": None, "token_ids": [2], "delta": {"content": "a"}}],
    }
    assert done == b"data: [DONE]"
