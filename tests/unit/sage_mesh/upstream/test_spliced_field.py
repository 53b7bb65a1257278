"""Only the field changes; every other byte of the object stays."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_mesh.upstream.spliced_field import MOST_OCCURRENCES, with_field

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["", "f", '"f":1']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["f", "a", '"f"']), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["f", "a", 'x"f":"y', "b"]), JSON, max_size=4), JSON)
def test_the_field_has_its_value_and_nothing_else_changes(given: dict[str, object], value: object) -> None:
    assert orjson.loads(with_field(orjson.dumps(given), "f", value)) == {**given, "f": value}


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b"{ }", b'{"f":7 }'),
        (b' { "a" : 1.0 } ', b' {"f":7, "a" : 1.0 } '),
        (
            b'{"f" :  "old", "seed": 123456789012345678901234567890}',
            b'{"f" :  7, "seed": 123456789012345678901234567890}',
        ),
        (b'{"f":{"a": 1, "b": "x"} ,"t":"\\/\\u00e9"}', b'{"f":7 ,"t":"\\/\\u00e9"}'),
        (b'{"a":{"f":1},"f":null,"b":[{"f":2}]}', b'{"a":{"f":1},"f":7,"b":[{"f":2}]}'),
        (b'{"f":1, "f":2}', b'{"f":1, "f":7}'),
        (b'{"f":"a \\" b","u":"\\"f\\":1"}', b'{"f":7,"u":"\\"f\\":1"}'),
    ],
)
def test_every_other_byte_stays(body: bytes, changed: bytes) -> None:
    assert with_field(body, "f", 7) == changed


def test_a_field_that_is_hard_to_find_is_set_all_the_same() -> None:
    hidden = b'{"g":1, "\\u0066":2, "a": [' + b",".join([b'{"f":1}'] * (MOST_OCCURRENCES + 1)) + b"]}"
    assert orjson.loads(with_field(hidden, "f", [7])) == {**orjson.loads(hidden), "f": [7]}
    nested = b'{"f":{"a":[1]}}'
    assert orjson.loads(with_field(nested, "f", 7)) == {"f": 7}
