"""What is asked of a server: the caller's body, and the usage and tokens that SAGE wants to know."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from sage_common.errors import InvalidRequestError
from sage_llm_coordinator.engines.stream_rewriter import AnswerEdits
from sage_llm_coordinator.engines.upstream_request import with_progress, with_token_ids, with_usage

EDITS = AnswerEdits("m", "best")
BOTH = {"include_usage": True, "continuous_usage_stats": True}


def hiding(*, last: bool, each: bool) -> AnswerEdits:
    return AnswerEdits("m", "best", hides_last_usage=last, hides_each_usage=each)


def ordered(document: bytes) -> Any:
    return json.loads(document, object_pairs_hook=list)


def test_a_body_without_options_gets_them_at_its_end() -> None:
    body = b'{ "model":"m", "stream":true, "x":1.0 }\n'
    asked, edits = with_usage(body, EDITS, continuous=True)
    assert asked.startswith(b'{ "model":"m", "stream":true, "x":1.0')
    assert orjson.loads(asked) == orjson.loads(body) | {"stream_options": BOTH}
    assert edits == hiding(last=True, each=True)
    assert with_usage(body, EDITS, continuous=False)[1] == hiding(last=True, each=False)


@pytest.mark.parametrize(
    ("given_options", "continuous", "sent", "edits"),
    [
        (None, False, {"include_usage": True}, hiding(last=True, each=False)),
        ({}, True, BOTH, hiding(last=True, each=True)),
        ({"include_usage": False, "x": 1}, False, {"include_usage": True, "x": 1}, hiding(last=True, each=False)),
        ({"include_usage": True}, False, {"include_usage": True}, EDITS),
        ({"include_usage": True}, True, BOTH, hiding(last=False, each=True)),
        (BOTH, True, BOTH, EDITS),
        ({"continuous_usage_stats": True}, True, BOTH, hiding(last=True, each=True)),
        ("nonsense", True, "nonsense", EDITS),
    ],
)
def test_the_callers_own_options_stay(
    given_options: object, continuous: bool, sent: object, edits: AnswerEdits
) -> None:
    body = orjson.dumps({"model": "m", "stream_options": given_options, "stream": True})
    asked, wanted = with_usage(body, EDITS, continuous=continuous)
    assert orjson.loads(asked)["stream_options"] == sent
    assert [name for name, _ in ordered(asked)] == ["model", "stream_options", "stream"]
    assert wanted == edits


def test_a_long_number_beside_the_options_stays() -> None:
    body = b'{"model":"m","stream_options":null,"seed":123456789012345678901234567890}'
    asked, _ = with_usage(body, EDITS, continuous=False)
    assert ordered(asked)[2] == ("seed", 123456789012345678901234567890)


def test_options_in_a_body_nested_too_deeply_to_be_written_again_are_refused() -> None:
    body = b'{"model":"m","stream_options":null,"x":' + b"[" * 1000 + b"]" * 1000 + b"}"
    with pytest.raises(InvalidRequestError, match="nested"):
        with_usage(body, EDITS, continuous=True)


@pytest.mark.parametrize("field", [b'"stop":["x"]', b'"echo":true', b'"return_token_ids":true', b'"tools":[]'])
def test_tokens_that_would_be_of_no_use_are_not_asked_for(field: bytes) -> None:
    body = b'{"model":"m",' + field + b"}"
    assert with_token_ids(body, EDITS) == (body, EDITS)


def test_tokens_are_asked_for_at_the_bodys_end() -> None:
    asked, edits = with_token_ids(b'{"model":"m" }\n', EDITS)
    assert asked == b'{"model":"m","return_token_ids":true}'
    assert edits == AnswerEdits("m", "best", hides_tokens=True)


def test_the_progress_of_a_prompt_is_asked_for_and_hidden_unless_the_caller_asks_too() -> None:
    asked, edits = with_progress(b'{"model":"m","stream":true}', EDITS)
    assert orjson.loads(asked) == {"model": "m", "stream": True, "return_progress": True}
    assert edits == AnswerEdits("m", "best", hides_progress=True)
    own = b'{"model":"m","stream":true,"return_progress":true}'
    assert with_progress(own, EDITS) == (own, EDITS)
