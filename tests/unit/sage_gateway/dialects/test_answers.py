"""Answers in both vendors' shapes, built from chat completions: a stream comes to what the document says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from fixtures.scripted_chat import USAGE, call, deltas, event
from hypothesis import given
from hypothesis import strategies as st

from sage_common.errors import EngineFailedError, ErrorKind, NotFoundError, error_class
from sage_gateway.dialects.anthropic_errors import ANTHROPIC_ERRORS, anthropic_error
from sage_gateway.dialects.chat_delta import ChatReader
from sage_gateway.dialects.dialect import AnswerBuilder
from sage_gateway.dialects.message_answer import MessageAnswer
from sage_gateway.dialects.response_answer import ResponseAnswer
from sage_mesh.reply import NO_USAGE, Media, TokenUsage
from sage_mesh.sse import SseParser

CALLS = st.lists(st.builds(call, st.sampled_from("fg"), st.just('{"x": "äöü"}'), st.uuids().map(str)), max_size=3)
MESSAGES = st.fixed_dictionaries(
    {"content": st.text(max_size=12), "reasoning_content": st.text(max_size=12), "tool_calls": CALLS}
)


def message_answer(*stops: str) -> MessageAnswer:
    return MessageAnswer(stops, shows_thinking=True)


def response_answer(*, logprobs: bool = False) -> ResponseAnswer:
    return ResponseAnswer({"store": False}, lambda: 1.0, logprobs=logprobs)


def whole(answer: AnswerBuilder, message: dict[str, Any], **choice: Any) -> Any:
    """The document for a document."""
    body = {"choices": [{"message": message, "finish_reason": "stop", **choice}], "usage": USAGE}
    answer.begin("req-1", "m")
    for delta in ChatReader().feed(Media.JSON, orjson.dumps(body)):
        answer.add(delta)
    answer.end(NO_USAGE)
    return orjson.loads(answer.document())


def streamed(answer: AnswerBuilder, message: dict[str, Any], size: int = 4) -> tuple[Any, list[Any]]:
    """The document for a stream in pieces of ``size`` characters, and the events on the way."""
    chunks = [{"delta": delta} for delta in deltas(message, size)] + [{"delta": {}, "finish_reason": "stop"}]
    reader = ChatReader()
    sent = answer.begin("req-1", "m")
    for chunk in [*({"choices": [chunk]} for chunk in chunks), {"choices": [], "usage": USAGE}]:
        for delta in reader.feed(Media.EVENT_STREAM, event(chunk)):
            sent += answer.add(delta)
    sent += answer.end(NO_USAGE)
    events = SseParser().feed(sent)
    values = [orjson.loads(one.data) for one in events]
    assert [one.event for one in events] == [value["type"] for value in values]
    return orjson.loads(answer.document()), values


@given(MESSAGES, st.integers(1, 5))
def test_events_of_a_message_come_to_the_document(message: dict[str, Any], size: int) -> None:
    document, events = streamed(message_answer(), message, size)
    assert document == whole(message_answer(), message)
    blocks: list[Any] = []
    is_open = False
    for value in events:
        match value["type"]:
            case "content_block_start":
                assert (is_open, value["index"]) == (False, len(blocks))
                blocks.append({**value["content_block"], "input_json": ""})
                is_open = True
            case "content_block_delta":
                assert (is_open, value["index"]) == (True, len(blocks) - 1)
                kind = value["delta"]["type"].removesuffix("_delta")
                block = blocks[-1]
                block[kind] += value["delta"].get("partial_json" if kind == "input_json" else kind)
            case "content_block_stop":
                assert (is_open, value["index"]) == (True, len(blocks) - 1)
                is_open = False
    assert not is_open
    for block in blocks:
        text = block.pop("input_json")
        if block["type"] == "tool_use":
            block["input"] = orjson.loads(text)
    assert blocks == document["content"]
    assert [value["type"] for value in events][-2:] == ["message_delta", "message_stop"]


@given(MESSAGES, st.integers(1, 5))
def test_events_of_a_response_come_to_the_document(message: dict[str, Any], size: int) -> None:
    document, events = streamed(response_answer(), message, size)
    assert document == whole(response_answer(), message)
    assert [value["sequence_number"] for value in events] == list(range(len(events)))
    added = [value for value in events if value["type"] == "response.output_item.added"]
    done = [value for value in events if value["type"] == "response.output_item.done"]
    assert [value["output_index"] for value in added] == [value["output_index"] for value in done]
    assert [value["item"] for value in done] == document["output"] == events[-1]["response"]["output"]
    for item in document["output"]:
        of_item = [value["delta"] for value in events if value.get("item_id") == item["id"] and "delta" in value]
        text = item.get("arguments") or "".join(part["text"] for part in item.get("content", ()))
        assert "".join(of_item) == text


def test_a_refusal_is_told_as_one() -> None:
    refusal = {"content": None, "refusal": "I will not."}
    message, _ = streamed(message_answer(), refusal)
    assert (message["stop_reason"], message["content"][0]["text"]) == ("refusal", "I will not.")
    response, events = streamed(response_answer(), refusal)
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]
    assert "response.refusal.done" in [value["type"] for value in events]


def test_a_custom_tool_is_called_with_text() -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    response, events = streamed(response_answer(), {"tool_calls": [custom]})
    assert response == whole(response_answer(), {"tool_calls": [custom]})
    assert (response["output"][0]["type"], response["output"][0]["input"]) == ("custom_tool_call", "*** Begin")
    assert "response.custom_tool_call_input.delta" in [value["type"] for value in events]


def test_log_probabilities_are_told_where_they_were_asked_for() -> None:
    one = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    for asked, told in ((True, [one]), (False, [])):
        response = whole(response_answer(logprobs=asked), {"content": "Hi"}, logprobs={"content": [one]})
        assert response["output"][0]["content"][0]["logprobs"] == told


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "length"}, "max_tokens"),
        ({"finish_reason": "content_filter"}, "refusal"),
        ({"finish_reason": "tool_calls"}, "tool_use"),
        ({"finish_reason": "stop", "stop_reason": 128001}, "end_turn"),
        ({"finish_reason": "stop", "stop_reason": "END"}, "stop_sequence"),
    ],
)
def test_every_reason_to_stop_has_its_name(choice: dict[str, Any], reason: str) -> None:
    assert whole(message_answer("END"), {"content": "Hi"}, **choice)["stop_reason"] == reason


def test_a_call_is_a_reason_to_stop_whatever_the_engine_says() -> None:
    assert whole(message_answer(), {"tool_calls": [call("f", "{}")]})["stop_reason"] == "tool_use"


def test_a_call_with_what_is_no_object_is_the_engines_failure_unless_it_was_cut() -> None:
    broken = {"tool_calls": [call("f", '{"x": ')]}
    with pytest.raises(EngineFailedError, match="called 'f'"):
        whole(message_answer(), broken)
    message = whole(message_answer(), broken, finish_reason="length")
    assert (message["stop_reason"], message["content"][0]["input"]) == ("max_tokens", {})


def test_usage_is_the_executors_where_the_engines_events_have_none() -> None:
    answer = message_answer()
    answer.begin("req-1", "m")
    answer.end(TokenUsage(10, 4, 3))
    assert orjson.loads(answer.document())["usage"] == {
        "input_tokens": 7,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 4,
    }


def test_calls_that_an_engine_mixes_are_not_guessed_at() -> None:
    first, second = call("f", "", "a"), call("g", "", "b")
    parts = [{**first, "index": 0}, {**second, "index": 1}, {"index": 0, "function": {"arguments": "{}"}}]
    [delta] = ChatReader().feed(Media.EVENT_STREAM, event({"choices": [{"delta": {"tool_calls": parts}}]}))
    for answer in (message_answer(), response_answer()):
        answer.begin("req-1", "m")
        with pytest.raises(EngineFailedError, match="went on with a tool call"):
            answer.add(delta)


def test_what_an_engine_sends_instead_of_an_answer_is_its_failure() -> None:
    for sent in (b"data: {\n\n", b"data: []\n\n"):
        with pytest.raises(EngineFailedError, match="no chat completion"):
            ChatReader().feed(Media.EVENT_STREAM, sent)
    with pytest.raises(NotFoundError, match="gone"):
        ChatReader().feed(Media.EVENT_STREAM, event({"error": {"message": "gone", "status": 404}}))


def test_a_response_that_fails_before_anything_was_sent_is_opened_first() -> None:
    events = SseParser().feed(response_answer().failed(EngineFailedError("died")))
    assert [one.event for one in events] == ["response.created", "response.in_progress", "response.failed"]


def test_half_a_call_is_told_as_incomplete() -> None:
    answer = response_answer()
    answer.begin("req-1", "m")
    part = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"x"'}}
    for delta in ChatReader().feed(Media.EVENT_STREAM, event({"choices": [{"delta": {"tool_calls": [part]}}]})):
        answer.add(delta)
    failed = SseParser().feed(answer.failed(EngineFailedError("died")))
    assert [one.event for one in failed] == ["response.failed"]
    assert orjson.loads(failed[0].data)["response"]["output"][0]["status"] == "incomplete"


def test_every_kind_of_error_has_anthropics_status_and_type() -> None:
    assert set(ANTHROPIC_ERRORS) == set(ErrorKind)
    for kind, (status, name) in ANTHROPIC_ERRORS.items():
        sent, body = anthropic_error(error_class(kind)("no", code="c"), "req-1")
        assert sent == status
        assert orjson.loads(body) == {
            "type": "error",
            "error": {"type": name, "message": "no", "details": {"error_code": "c"}},
            "request_id": "req-1",
        }
