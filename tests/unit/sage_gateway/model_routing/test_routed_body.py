"""The body of a request for a model behind a name."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.request.request import NO_HINTS, Endpoint, Hints, Priority, ServiceClass
from sage_gateway.model_routing.routed_body import body_for, hints_for, may_name, read_routed, sticky_key

CHAT = Endpoint.CHAT_COMPLETIONS


def test_defaults_fill_what_the_request_does_not_say() -> None:
    body = {"model": "fast", "temperature": 0.7, "top_p": None}
    defaults = {"temperature": 0.1, "top_p": 0.5, "max_tokens": 9, "dimensions": 4, "service_class": "bulk"}
    written = orjson.loads(body_for(body, CHAT, "small", defaults))
    assert written == {"model": "small", "temperature": 0.7, "top_p": 0.5, "max_tokens": 9}


def test_either_name_of_the_limit_on_the_output_overrides_the_default() -> None:
    body = {"model": "fast", "max_completion_tokens": 3}
    written = orjson.loads(body_for(body, CHAT, "small", {"max_tokens": 9}))
    assert written == {"model": "small", "max_completion_tokens": 3}


def test_an_embedding_takes_dimensions_and_no_temperature() -> None:
    written = orjson.loads(body_for({}, Endpoint.EMBEDDINGS, "e", {"temperature": 1, "dimensions": 4}))
    assert written == {"model": "e", "dimensions": 4}


def test_numbers_that_no_float_holds_stay_as_they_are() -> None:
    body = b'{"model":"fast","seed":123456789012345678901234567890}'
    read = read_routed(body)
    assert read is not None
    assert b"123456789012345678901234567890" in body_for(read, CHAT, "small", {})


def test_what_is_no_object_is_left_to_the_edge() -> None:
    assert (read_routed(b"[1]"), read_routed(b"{")) == (None, None)


def test_a_default_class_is_overridden_by_a_class_and_by_a_priority() -> None:
    bulk = {"service_class": "bulk"}
    assert hints_for(NO_HINTS, bulk).service_class is ServiceClass.BULK
    asked = Hints(service_class=ServiceClass.INTERACTIVE)
    assert hints_for(asked, bulk) is asked
    urgent = Hints(priority=Priority.HIGH)
    assert hints_for(urgent, bulk) is urgent


@pytest.mark.parametrize(
    ("body", "may"),
    [
        (b'{"model":"fast"}', True),
        (b'{ "model" : "fast" }', True),
        (rb'{"model":"other","messages":[{"role":"user","content":"the \"model\" fast"}]}', False),
        (b'{"model":"other"}', False),
        (b'{"model":"faster"}', False),
        # Which of several keys counts, and what an escape stands for, only reading tells.
        (b'{"model":"other","metadata":{"model":"fast"}}', True),
        (rb'{"model":"\u0066ast"}', True),
        (rb'{"mode\u006c":"fast"}', True),
        (b'{"model":5}', True),
        (b'{"messages":[]}', True),
    ],
)
def test_a_body_that_names_no_route_is_not_read(body: bytes, may: bool) -> None:
    assert may_name(body, {"fast"}) is may


@given(
    st.dictionaries(st.sampled_from(["model", "x", 'a"model', "\\model"]), st.text(max_size=8) | st.integers()),
    st.booleans(),
)
def test_no_body_that_names_a_route_is_passed_over(body: dict[str, Any], nested: bool) -> None:
    whole = {"deep": body, **body} if nested else body
    name = whole.get("model")
    if isinstance(name, str):
        for written in (orjson.dumps(whole), json.dumps(whole, indent=1).encode()):
            assert may_name(written, {name})


def test_whom_a_request_is_for_is_its_user_before_its_conversation() -> None:
    assert sticky_key({"user": "u", "prompt_cache_key": "c"}) == "u"
    assert sticky_key({"user": "", "prompt_cache_key": "c"}) == "c"
    assert sticky_key({"user": 5}) == ""
