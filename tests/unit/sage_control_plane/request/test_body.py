"""Reading request bodies."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body import MAX_EMBEDDING_INPUTS, read_body
from sage_control_plane.request.request import Endpoint

CHAT, COMPLETION, EMBEDDING, RERANK = list(Endpoint)
USER = {"role": "user", "content": "hi"}


def read(endpoint: Endpoint, **fields: Any) -> Any:
    return read_body(endpoint, orjson.dumps(fields))


def test_a_conversation_becomes_roles_and_texts_in_order() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    body = read(
        CHAT, model="m", messages=[USER, {"role": "assistant", "content": None}, {"role": "user", "content": parts}]
    )
    assert body.segments == ("user", "hi", "assistant", "user", "look")


@pytest.mark.parametrize(
    ("given", "segments", "tokens", "items"),
    [
        ("text", ("text",), 0, 1),
        (["a", "b"], ("a", "b"), 0, 2),
        ([1, 2, 3], (), 3, 1),
        ([[1, 2], [3]], (), 3, 2),
    ],
)
def test_embedding_input_takes_every_form_of_the_api(given: Any, segments: Any, tokens: int, items: int) -> None:
    body = read(EMBEDDING, model="m", input=given, encoding_format=None)
    assert (body.segments, body.given_tokens, body.items) == (segments, tokens, items)


@pytest.mark.parametrize(
    ("endpoint", "fields", "param", "message"),
    [
        (CHAT, {}, "messages", "got nothing"),
        (CHAT, {"messages": []}, "messages", "non-empty"),
        (CHAT, {"messages": "hi"}, "messages", "got the string 'hi'"),
        (CHAT, {"messages": ["hi"]}, "messages[0]", "an object"),
        (CHAT, {"messages": [{"content": "hi"}]}, "messages[0].role", "a string"),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "the number 5"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "string",
        ),
        (CHAT, {"messages": [USER], "stream": "yes"}, "stream", "true or false"),
        (CHAT, {"messages": [USER], "model": 5}, "model", "a string"),
        (CHAT, {"messages": [USER], "max_tokens": 0}, "max_tokens", "at least 1"),
        (CHAT, {"messages": [USER], "max_tokens": True}, "max_tokens", "boolean"),
        (CHAT, {"messages": [USER], "n": 0}, "n", "at least 1"),
        (COMPLETION, {"prompt": {}}, "prompt", "object"),
        (EMBEDDING, {"input": ""}, "input", "must not be empty"),
        (EMBEDDING, {"input": []}, "input", "must not be empty"),
        (EMBEDDING, {"input": ["a", ""]}, "input[1]", "must not be empty"),
        (EMBEDDING, {"input": ["a", 1]}, "input[1]", "a string like the first"),
        (EMBEDDING, {"input": [[1], []]}, "input[1]", "must not be empty"),
        (EMBEDDING, {"input": [1, -1]}, "input[1]", "0 or above"),
        (EMBEDDING, {"input": [1.5]}, "input[0]", "a token id"),
        (EMBEDDING, {"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        (EMBEDDING, {"input": "a", "dimensions": 0}, "dimensions", "at least 1"),
        (EMBEDDING, {"input": ["a"] * (MAX_EMBEDDING_INPUTS + 1)}, "input", "the limit is 2048"),
        (RERANK, {"query": "q", "documents": []}, "documents", "non-empty"),
        (RERANK, {"query": "", "documents": ["d"]}, "query", "non-empty"),
    ],
)
def test_a_wrong_field_is_named(endpoint: Endpoint, fields: dict[str, Any], param: str, message: str) -> None:
    # Another engine may know other encodings.
    strict = param == "encoding_format"
    with pytest.raises(InvalidRequestError, match=message.replace("[", r"\[")) as caught:
        read_body(endpoint, orjson.dumps(fields), strict=strict)
    assert caught.value.param == param


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}


@pytest.mark.parametrize(
    ("fields", "items", "segments"),
    [
        ({"input": "a", "encoding_format": "binary"}, 1, ("a",)),
        ({"input": [{"text": "a"}, {"image": "xyz"}]}, 2, ("a",)),
        ({"input": [{"content": [{"type": "text", "text": "a"}, IMAGE]}]}, 1, ("a",)),
        ({"input": ["a", IMAGE]}, 2, ("a",)),
        ({"input": {"text": "a"}}, 1, ("a",)),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]}, 1, ("a",)),
    ],
)
def test_what_a_remote_engine_may_embed_is_its_to_judge(
    fields: dict[str, Any], items: int, segments: tuple[str, ...]
) -> None:
    body = read(EMBEDDING, **fields)
    assert (body.items, body.segments) == (items, segments)
    with pytest.raises(InvalidRequestError):
        read_body(EMBEDDING, orjson.dumps(fields), strict=True)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_body(CHAT, body)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize("field", ["tools", "response_format", "logprobs"])
def test_structured_output_is_noticed(field: str) -> None:
    assert read(CHAT, messages=[USER], **{field: [1]}).structured
    assert read(CHAT, messages=[USER], n=2).structured
    assert not read(CHAT, messages=[USER]).structured


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "messages", "role", "content", "type", "text", "prompt", "input", "n", "stream"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(list(Endpoint)), json_values)
def test_any_json_is_read_or_refused_but_never_breaks(endpoint: Endpoint, value: Any) -> None:
    try:
        body = read_body(endpoint, orjson.dumps(value))
    except InvalidRequestError:
        return
    assert body.items >= 1
