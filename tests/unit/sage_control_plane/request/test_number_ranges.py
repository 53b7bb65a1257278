"""Numbers that could stop an engine are refused; what an engine can judge by itself is left to it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body import MAX_EMBEDDING_INPUTS, RequestBody, read_body
from sage_control_plane.request.number_ranges import RANGES
from sage_control_plane.request.request import Endpoint

CHAT = Endpoint.CHAT_COMPLETIONS
CONTENT: dict[Endpoint, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    Endpoint.COMPLETIONS: {"prompt": "hi"},
    Endpoint.EMBEDDINGS: {"input": "hi"},
    Endpoint.RERANK: {"query": "hi", "documents": ["a"]},
}


def read(endpoint: Endpoint = CHAT, *, strict: bool = False, **fields: Any) -> RequestBody:
    return read_body(endpoint, orjson.dumps({**CONTENT[endpoint], **fields}), strict=strict)


@pytest.mark.parametrize("endpoint", CONTENT)
@pytest.mark.parametrize("name", RANGES)
def test_a_number_far_out_of_range_is_refused_and_named(endpoint: Endpoint, name: str) -> None:
    for value in (10**9 * 10**9 * 10, 1e300, -(10**18) * 10, -1e300):
        with pytest.raises(InvalidRequestError, match=f"'{name}' must be") as caught:
            read_body(
                endpoint, b'{"%s": %s, %s' % (name.encode(), str(value).encode(), orjson.dumps(CONTENT[endpoint])[1:])
            )
        assert caught.value.param == name


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_a_range_belong_to_it(name: str) -> None:
    least, most = RANGES[name]
    for value in (least, most):
        read(**{name: value})


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("n", 10**9, "integer_above_max_value"),
        ("n", 129, "integer_above_max_value"),
        ("best_of", 10**9, "integer_above_max_value"),
        ("top_logprobs", 10**9, "integer_above_max_value"),
        ("max_tokens", 2**31, "integer_above_max_value"),
        ("max_tokens", -2, "integer_below_min_value"),
        ("temperature", -0.1, "decimal_below_min_value"),
        ("temperature", 101.0, "decimal_above_max_value"),
        ("top_p", 1.1, "decimal_above_max_value"),
        ("seed", 2**63, "integer_above_max_value"),
    ],
)
def test_the_code_says_on_which_side(field: str, value: float, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(**{field: value})
    # A limit on the output was checked for its shape before there were ranges.
    assert caught.value.code in (code, "invalid_type")
    assert caught.value.param == field


def test_dimensions_of_any_embedding_engine_are_bounded() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(Endpoint.EMBEDDINGS, dimensions=10**9)
    assert (caught.value.code, caught.value.param) == ("integer_above_max_value", "dimensions")
    read(Endpoint.EMBEDDINGS, dimensions=3072)


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_what_json_has_no_number_for_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_body(Endpoint.COMPLETIONS, b'{"prompt": "hi", "temperature": %s}' % text)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize(("value", "read_as"), [(-1, None), (-1.0, None), (256.0, 256), (256, 256), (None, None)])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_in_another_spelling_is_for_the_engine_to_judge(name: str, value: Any, read_as: int | None) -> None:
    assert read(**{name: value}).max_tokens == read_as


@pytest.mark.parametrize("value", [-1, 256.0, 0, 1.5, "7", True])
def test_sages_own_engines_take_a_whole_positive_limit_only(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match="max_tokens"):
        read(strict=True, max_tokens=value)


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", "hot"), ("logprobs", True), ("top_p", None), ("seed", [1]), ("top_k", "all")]
)
def test_values_that_are_no_numbers_are_the_engines_to_judge(name: str, value: Any) -> None:
    read(**{name: value})


def test_choices_of_many_prompts_are_bounded_together() -> None:
    prompts = ["p"] * MAX_EMBEDDING_INPUTS
    read(Endpoint.COMPLETIONS, prompt=prompts, n=2)
    with pytest.raises(InvalidRequestError, match="4096 sequences") as caught:
        read(Endpoint.COMPLETIONS, prompt=prompts, n=3)
    assert caught.value.param == "n"


def test_the_name_of_a_model_is_bounded() -> None:
    read(model="m" * 1024)
    with pytest.raises(InvalidRequestError, match="1025 characters") as caught:
        read(model="m" * 1025)
    assert len(caught.value.message) < 200
