"""A continuation from tokens: what is asked of ``/tokenize``, and then of the server."""

from __future__ import annotations

import orjson
import pytest

from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.engines.token_prompt import token_prompt
from sage_mesh.engine import DeliveredTokens


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
