"""Typed generation requests as fields of the OpenAI body."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.v1 import generation_pb2
from sage_common.errors import InvalidRequestError
from sage_mesh.wire.generation import chat_messages, generation_fields, shortest_float32


def extra(**fields: object) -> struct_pb2.Struct:
    return json_format.ParseDict(fields, struct_pb2.Struct())


def test_only_given_options_are_sent() -> None:
    assert generation_fields(generation_pb2.GenerationParameters()) == {}
    assert generation_fields(generation_pb2.GenerationParameters(max_tokens=0, temperature=0.0)) == {
        "max_tokens": 0,
        "temperature": 0.0,
    }


def test_extra_fields_are_merged_and_whole_numbers_stay_whole() -> None:
    parameters = generation_pb2.GenerationParameters(extra=extra(top_k=5, penalty=0.5, deep={"list": [1, 2.5, None]}))
    params = generation_fields(parameters)
    assert params == {"top_k": 5, "penalty": 0.5, "deep": {"list": [1, 2.5, None]}}
    assert isinstance(params["top_k"], int)


def test_a_typed_option_wins_over_its_namesake() -> None:
    parameters = generation_pb2.GenerationParameters(max_tokens=7, stop=["x"], extra=extra(max_tokens=9, stop="y"))
    assert generation_fields(parameters) == {"max_tokens": 7, "stop": ["x"]}


@pytest.mark.parametrize("name", ["messages", "prompt", "model", "stream"])
def test_a_field_that_the_request_has_itself_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        generation_fields(generation_pb2.GenerationParameters(extra=extra(**{name: "x"})))


def test_a_caller_may_reserve_further_fields() -> None:
    parameters = generation_pb2.GenerationParameters(extra=extra(n=2))
    assert generation_fields(parameters) == {"n": 2}
    with pytest.raises(InvalidRequestError, match="'n'"):
        generation_fields(parameters, ["n"])


def test_every_typed_option_is_a_field_of_its_own_name_and_value() -> None:
    parameters = generation_pb2.GenerationParameters(
        max_tokens=5, temperature=0.7, top_p=0.95, stop=["a", "b"], seed=-3, extra=extra(frequency_penalty=0.7)
    )
    assert {field.name for field, _ in parameters.ListFields()} == set(parameters.DESCRIPTOR.fields_by_name)
    assert generation_fields(parameters) == {
        "max_tokens": 5,
        "temperature": 0.7,
        "top_p": 0.95,
        "stop": ["a", "b"],
        "seed": -3,
        "frequency_penalty": 0.7,
    }


@given(st.floats(width=32, allow_nan=False))
def test_the_shortest_decimal_is_the_same_float32(value: float) -> None:
    short = shortest_float32(value)
    assert struct.pack("<f", short) == struct.pack("<f", value)
    assert math.isinf(value) or len(Decimal(repr(short)).normalize().as_tuple().digits) <= 9


@given(st.decimals(-100, 100, places=4))
def test_a_decimal_of_few_digits_comes_out_as_it_was_written(written: Decimal) -> None:
    (sent,) = struct.unpack("<f", struct.pack("<f", float(written)))
    assert shortest_float32(sent) == float(written)


def test_what_is_no_finite_number_stays_that() -> None:
    assert shortest_float32(math.inf) == math.inf
    assert math.isnan(shortest_float32(math.nan))
    (largest,) = struct.unpack("<f", b"\xff\xff\x7f\x7f")
    assert struct.pack("<f", shortest_float32(largest)) == b"\xff\xff\x7f\x7f"


def test_a_message_has_a_name_where_its_speaker_has_one() -> None:
    messages = [
        generation_pb2.ChatMessage(role="user", content="hi", name="ann"),
        generation_pb2.ChatMessage(role="user", content="ho"),
    ]
    assert chat_messages(messages) == [
        {"role": "user", "content": "hi", "name": "ann"},
        {"role": "user", "content": "ho"},
    ]
