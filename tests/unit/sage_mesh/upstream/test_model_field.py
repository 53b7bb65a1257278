"""Bodies keep their bytes unless their model has another name at the engine."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_mesh.upstream.model_field import with_model

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "a", '"model"']), inner),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.sampled_from(["model", "messages", "n", 'x"model":"big']), JSON, max_size=4)


@given(OBJECT)
def test_the_model_is_set_and_nothing_else_changes(value: dict[str, object]) -> None:
    value.setdefault("model", "something")
    result = orjson.loads(with_model(orjson.dumps(value), "big"))
    assert result == {**value, "model": "big"}


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


@pytest.mark.parametrize("body", [b"{}", b'{"model":null}', b'{"model":"bigger"}', b'{"mod\\u0065l":"small"}'])
def test_any_other_name_is_replaced(body: bytes) -> None:
    assert orjson.loads(with_model(body, "big")) == {"model": "big"}
