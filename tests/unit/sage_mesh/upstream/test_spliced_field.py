"""Only the field changes; every other byte of the object stays."""

from __future__ import annotations

from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_mesh.upstream import spliced_field
from sage_mesh.upstream.spliced_field import MOST_TRIES, with_field

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
    hidden = b'{"g":1, "\\u0066":2, "a": [' + b",".join([b'{"f":1}'] * (MOST_TRIES + 1)) + b"]}"
    assert orjson.loads(with_field(hidden, "f", [7])) == {**orjson.loads(hidden), "f": [7]}
    nested = b'{"f":{"a":[1]}}'
    assert orjson.loads(with_field(nested, "f", 7)) == {"f": 7}


def test_the_field_is_found_among_many_that_lie_deeper() -> None:
    deeper = b'[{"f":1},{"a":{"f":2}},' + b",".join([b'"\\"f\\":3",{"f":3}'] * 50) + b"]"
    for body in (b'{"f": 0 ,"a":%s}', b'{"a":%s,"f": 0 }', b'{"a":%s,"f": 0 ,"b":[{"f":1}]}'):
        assert with_field(body % deeper, "f", 7) == (body % deeper).replace(b'"f": 0 ', b'"f": 7 ')


def test_a_body_is_read_a_few_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[bytes] = []

    def count(body: bytes) -> object:
        reads.append(body)
        return orjson.loads(body)

    monkeypatch.setattr(spliced_field, "orjson", SimpleNamespace(loads=count, dumps=orjson.dumps))
    # Every place but the hidden one is a wrong guess.
    hidden = b'{"\\u0066":0,"a":[' + b",".join([b'{"f":1}'] * 100) + b"]}"
    read = orjson.loads(hidden)
    assert orjson.loads(with_field(hidden, "f", 7, read)) == {**read, "f": 7}
    assert len(reads) == MOST_TRIES
    reads.clear()
    with_field(hidden, "f", 7)
    assert len(reads) == MOST_TRIES + 1
    reads.clear()
    assert with_field(b'{"a":1}', "f", 7, {"a": 1}) == b'{"f":7,"a":1}'
    assert not reads
