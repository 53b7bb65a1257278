"""What is read and written again is equal, whatever numbers and texts it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_mesh import exact_json

NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def ordered(document: bytes | str) -> Any:
    return json.loads(document, object_pairs_hook=list)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_what_is_read_and_written_is_equal_in_its_order(value: dict[str, Any], ascii_only: bool) -> None:
    document = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert ordered(exact_json.write(exact_json.read(document))) == ordered(document)


@pytest.mark.parametrize(
    "number",
    [
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "9007199254740993",
        "1e22",
        "-0.0",
        "0.00012345678901234567",
        "-0.1000000000000000055",
        "12345678901234567890.5",
        "NaN",
        "-Infinity",
    ],
)
@pytest.mark.parametrize("form", ['{"a":%s}', '[%s,"\\ud800"]', '{"a": [ %s ]}'])
def test_no_number_changes(number: str, form: str) -> None:
    document = form % number
    written = exact_json.write(exact_json.read(document.encode()))
    assert repr(ordered(written)) == repr(ordered(document))


def test_digits_in_a_text_and_after_a_point_are_no_long_numbers() -> None:
    document = b'{"a":"12345678901234567890","b":0.12345678901234567890}'
    assert exact_json.read(document) == {"a": "12345678901234567890", "b": 0.12345678901234568}


@pytest.mark.parametrize(
    "document", [b"", b"{", b'{"a":"\xff"}', b'{"a":1e400}', b"[DONE]", b"[" * 100_000 + b"]" * 100_000]
)
def test_what_cannot_be_written_again_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parsers'
        exact_json.read(document)


def test_what_orjson_reads_but_does_not_write_is_written() -> None:
    deep = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"
    assert exact_json.write(exact_json.read(deep)) == deep
    deeper: list[Any] = []
    for _ in range(100_000):
        deeper = [deeper]
    with pytest.raises(ValueError, match="nested"):
        exact_json.write(deeper)
