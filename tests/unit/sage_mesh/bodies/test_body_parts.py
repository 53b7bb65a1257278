from __future__ import annotations

import base64
import random
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_common.errors import EngineFailedError
from sage_mesh.bodies.body_parts import LEAST_PART_BYTES, BodyParts, split_body

LONG = base64.b64encode(random.Random(1).randbytes(LEAST_PART_BYTES)).decode()

TEXTS = (LONG, f"data:image/png;base64,{LONG}", f"{LONG}\n{LONG}", f"{LONG}\\", f'{LONG}"', "é" * LEAST_PART_BYTES)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.sampled_from(TEXTS),
            st.none(),
            st.integers(-9, 9),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_what_is_taken_out_comes_back_byte_for_byte_and_the_rest_is_json(values: list[object], slashes: bool) -> None:
    body = orjson.dumps({"messages": [{"content": values}], "n": 1})
    if slashes:
        body = body.replace(b"/", rb"\/")
    split = split_body(body)
    if split is None:
        assert LONG not in values
        return
    marked, parts = split
    left = orjson.loads(marked)
    assert left["n"] == 1
    assert len(left["messages"][0]["content"]) == len(values)
    assert len(marked) < len(body)
    assert parts.put_back(marked) == body


def test_a_text_of_the_same_length_stays() -> None:
    assert split_body(orjson.dumps({"content": "a long text, with blanks. " * 10_000})) is None


def test_marks_of_a_callers_own_are_no_marks() -> None:
    split = split_body(orjson.dumps({"a": LONG, "b": "body-0123456789abcdef0123456789abcdef:0:10"}))
    assert split is not None
    whole = orjson.loads(split[1].put_back(split[0]))
    assert whole == {"a": LONG, "b": "body-0123456789abcdef0123456789abcdef:0:10"}


def test_a_part_that_has_got_shorter_is_an_error() -> None:
    split = split_body(orjson.dumps({"a": LONG}))
    assert split is not None
    with pytest.raises(EngineFailedError, match="lost on its way"):
        BodyParts(split[1].object_id, split[1].data[:-1]).put_back(split[0])


def test_forty_megabytes_are_taken_out_and_put_back_in_little_time() -> None:
    """A tenth of a second here; a pattern that looks at a place twice takes minutes."""
    body = orjson.dumps({"messages": [{"role": "user", "content": LONG * 460}]})
    began = time.process_time()
    split = split_body(body)
    assert split is not None
    assert split[1].put_back(split[0]) == body
    assert time.process_time() - began < 5
