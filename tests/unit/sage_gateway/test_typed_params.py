from __future__ import annotations

import pytest
from google.protobuf import json_format, struct_pb2

from sage.inference.v1 import generation_pb2
from sage_common.errors import InvalidRequestError
from sage_gateway.typed_params import params_from_wire


def extra(**fields: object) -> struct_pb2.Struct:
    return json_format.ParseDict(fields, struct_pb2.Struct())


def test_only_given_options_are_sent() -> None:
    assert params_from_wire(generation_pb2.GenerationParameters()) == {}
    assert params_from_wire(generation_pb2.GenerationParameters(max_tokens=0, temperature=0.0)) == {
        "max_tokens": 0,
        "temperature": 0.0,
    }


def test_extra_fields_are_merged_and_whole_numbers_stay_whole() -> None:
    parameters = generation_pb2.GenerationParameters(extra=extra(top_k=5, penalty=0.5, deep={"list": [1, 2.5, None]}))
    params = params_from_wire(parameters)
    assert params == {"top_k": 5, "penalty": 0.5, "deep": {"list": [1, 2.5, None]}}
    assert isinstance(params["top_k"], int)


def test_a_typed_option_wins_over_its_namesake() -> None:
    parameters = generation_pb2.GenerationParameters(max_tokens=7, stop=["x"], extra=extra(max_tokens=9, stop="y"))
    assert params_from_wire(parameters) == {"max_tokens": 7, "stop": ["x"]}


@pytest.mark.parametrize("name", ["messages", "prompt", "model", "stream"])
def test_a_field_that_the_request_has_itself_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        params_from_wire(generation_pb2.GenerationParameters(extra=extra(**{name: "x"})))
