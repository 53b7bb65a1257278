"""Requests of the Responses API, as chat completions."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from openai.types.responses import input_token_count_params, response_create_params

from sage_common.errors import InvalidRequestError
from sage_gateway.dialects.response_request import read_response_request

FUNCTION: dict[str, Any] = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
CUSTOM: dict[str, Any] = {"type": "custom", "name": "c", "format": {"type": "text"}}


def chat_of(given: Any = "hi", **fields: Any) -> dict[str, Any]:
    return read_response_request({"model": "m", "input": given, **fields}).chat


def messages_of(*items: Any) -> Any:
    return chat_of(list(items))["messages"]


def refused(given: Any = "hi", **fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as error:
        chat_of(given, **fields)
    return error.value


def error_of(**fields: Any) -> InvalidRequestError | None:
    try:
        read_response_request({"model": "m", **fields})
    except InvalidRequestError as error:
        return error
    return None


def sdk_fields() -> list[str]:
    kinds = (
        response_create_params.ResponseCreateParamsStreaming,
        input_token_count_params.InputTokenCountParams,
    )
    return sorted({name for kind in kinds for name in get_type_hints(kind)})


@pytest.mark.parametrize("name", sdk_fields())
def test_every_field_of_the_sdk_is_known_and_null_is_absent(name: str) -> None:
    if name not in ("input", "model"):
        assert chat_of(**{name: None}) == chat_of()
    for odd in ({"no": "such"}, ["no such"], "no such", True):
        error = error_of(**{"input": "hi", name: odd})
        if error is not None:
            # Not the field itself is unknown; at the most something in it.
            assert (error.code, error.param) != ("unknown_parameter", name)
            assert (error.param or "").startswith(name)


def test_what_no_api_has_is_refused_by_name() -> None:
    assert refused(colour="blue").param == "colour"
    assert refused([{"role": "user", "content": "hi", "colour": "blue"}]).param == "input[0].colour"
    assert refused(text={"format": {"type": "text", "colour": "blue"}}).param == "text.format.colour"


def test_options_become_those_of_a_chat() -> None:
    chat = chat_of(
        stream=True,
        max_output_tokens=5,
        temperature=0.5,
        top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        tools=[FUNCTION],
        tool_choice="required",
        user="u",
        store=False,
        truncation="disabled",
        stream_options={"include_obfuscation": False},
    )
    assert chat == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "temperature": 0.5,
        "logprobs": True,
        "top_logprobs": 2,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
        "tool_choice": "required",
        "user": "u",
    }


def test_instructions_and_developers_are_the_system() -> None:
    developer = {"role": "developer", "content": [{"type": "input_text", "text": "Be polite."}]}
    chat = chat_of([developer, {"role": "user", "content": "hi"}], instructions="Be brief.")
    assert chat["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe polite."},
        {"role": "user", "content": "hi"},
    ]


def test_parts_of_every_kind_that_a_chat_carries_are_passed_on() -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "http://a/b", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    assert messages_of({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "http://a/b", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    kept = {"type": "input_image", "file_id": "f", "detail": "auto"}
    assert refused([{"role": "user", "content": [kept]}]).param == "input[0].content[0].file_id"


def test_a_turn_that_is_sent_back_is_one_message() -> None:
    said = {"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}
    turn = [
        {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": [said]},
        {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "custom_tool_call", "id": "ctc", "call_id": "c2", "name": "c", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "2"},
    ]
    assert messages_of({"role": "user", "content": "hi"}, *turn)[1:] == [
        {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "custom", "custom": {"name": "c", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
    ]


def test_tools_that_are_not_allowed_are_left_out() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "c"}]}
    chat = chat_of(tools=[FUNCTION, CUSTOM], tool_choice=allowed)
    assert [tool["type"] for tool in chat["tools"]] == ["custom"]
    assert chat["tool_choice"] == "required"


def test_a_choice_of_a_tool_that_is_not_there_is_refused() -> None:
    assert refused(tools=[FUNCTION], tool_choice={"type": "function", "name": "g"}).param == "tool_choice"
    assert refused(tools=[FUNCTION], tool_choice={"type": "file_search"}).param == "tool_choice"
    assert "tool_choice" not in chat_of(tool_choice="auto")


def test_reasoning_that_only_its_maker_can_read_is_refused() -> None:
    item = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAAA"}
    assert refused([item]).param == "input[0].encrypted_content"
    assert refused(reasoning={"summary": "detailed"}).param == "reasoning.summary"


def test_the_answer_says_its_request_again() -> None:
    echo = read_response_request({"input": "hi", "temperature": 0.5, "tools": [FUNCTION], "user": None}).echo
    assert (echo["temperature"], echo["tools"], echo["user"], echo["store"]) == (0.5, [FUNCTION], None, True)
