"""Typed requests as OpenAI bodies."""

from __future__ import annotations

import orjson
import pytest

from sage.inference.v1 import generation_pb2
from sage_common.errors import InvalidRequestError
from sage_llm_coordinator.request_body import streaming_body


def test_only_what_was_set_is_in_the_body() -> None:
    body = orjson.loads(streaming_body("big", {"prompt": "x"}, generation_pb2.GenerationParameters()))
    assert body == {"model": "big", "prompt": "x", "stream": True, "stream_options": {"include_usage": True}}


def test_numbers_keep_the_value_that_was_meant() -> None:
    parameters = generation_pb2.GenerationParameters(max_tokens=5, temperature=0.7, top_p=0, seed=-3, stop=["a", "b"])
    parameters.extra.update({"top_k": 5, "min_p": 0.25, "nested": {"list": [1, 2.5]}})
    body = orjson.loads(streaming_body("big", {"prompt": "x"}, parameters))
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["seed"]) == (5, 0.7, 0.0, -3)
    assert body["stop"] == ["a", "b"]
    assert body["top_k"] == 5
    assert isinstance(body["top_k"], int)
    assert (body["min_p"], body["nested"]) == (0.25, {"list": [1, 2.5]})


@pytest.mark.parametrize("name", ["stream", "model", "n"])
def test_extra_fields_cannot_change_what_the_typed_request_says(name: str) -> None:
    parameters = generation_pb2.GenerationParameters()
    parameters.extra.update({name: 1})
    with pytest.raises(InvalidRequestError, match=name):
        streaming_body("big", {"prompt": "x"}, parameters)
