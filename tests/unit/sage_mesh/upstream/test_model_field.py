"""A body names the engine's model; nothing else in it changes."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_common.errors import InvalidRequestError
from sage_mesh.upstream.model_field import rename_model, with_model

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "a", '"model"']), inner),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.sampled_from(["model", "messages", "n", 'x"model":"big']), JSON, max_size=4)


@given(OBJECT)
def test_the_model_is_set_and_nothing_else_changes(value: dict[str, object]) -> None:
    value.setdefault("model", "something")
    result = json.loads(with_model(orjson.dumps(value), "big"), object_pairs_hook=list)
    expected = json.dumps({**value, "model": "big"})
    assert result == json.loads(expected, object_pairs_hook=list)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[],"model":"big"}',
        b'{ "model" :\n "big" , "x": 1.0e0}',
        b'{"messages":[{"role":"user","content":"my \\"model\\":\\"small\\""}],"model":"big"}',
        b'{"tools":[{"model":"x"}],"model":"big"}',
    ],
)
def test_a_body_that_names_the_model_keeps_its_bytes(body: bytes) -> None:
    assert with_model(body, "big") is body
    assert rename_model(body, "big") == (body, "big")


@pytest.mark.parametrize("body", [b"{}", b'{"model":null}', b'{"model":"bigger"}', b'{"mod\\u0065l":"small"}'])
def test_any_other_name_is_replaced_and_returned(body: bytes) -> None:
    assert orjson.loads(with_model(body, "big")) == {"model": "big"}
    assert rename_model(body, "big")[1] == orjson.loads(body).get("model")


def test_the_digits_of_a_long_number_stay() -> None:
    body = b'{"model":"small","seed": 123456789012345678901234567890,"t":"\\/\\u00e9","top_p":1.0}'
    renamed = b'{"model":"big","seed":123456789012345678901234567890,"t":"/\\u00e9","top_p":1.0}'
    assert with_model(body, "big") == renamed


def test_a_body_nested_too_deeply_to_be_written_again_is_refused() -> None:
    body = b'{"model":"small","x":' + b"[" * 1000 + b"]" * 1000 + b"}"
    with pytest.raises(InvalidRequestError, match="nested"):
        with_model(body, "big")
