"""Requests of Anthropic's Messages API, as chat completions."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_create_params
from fixtures.scripted_chat import call

from sage_common.errors import InvalidRequestError
from sage_gateway.dialects.message_request import read_message_request

LEAST: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
# Sent as headers.
HEADERS = {"betas", "user_profile_id", "workspace_id"}


def chat_of(**fields: Any) -> dict[str, Any]:
    return read_message_request({**LEAST, **fields}).chat


def user(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": list(blocks)}]


def parts_of(*blocks: Any) -> Any:
    return chat_of(messages=user(*blocks))["messages"][0]["content"]


def refused(**fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as error:
        chat_of(**fields)
    return error.value


def error_of(**fields: Any) -> InvalidRequestError | None:
    try:
        chat_of(**fields)
    except InvalidRequestError as error:
        return error
    return None


def sdk_fields() -> list[str]:
    kinds = (
        message_create_params.MessageCreateParamsStreaming,
        beta_create_params.MessageCreateParamsStreaming,
        message_count_tokens_params.MessageCountTokensParams,
    )
    return sorted({name for kind in kinds for name in get_type_hints(kind)} - HEADERS)


@pytest.mark.parametrize("name", sdk_fields())
def test_every_field_of_the_sdk_is_known_and_null_is_absent(name: str) -> None:
    if name not in LEAST:
        assert chat_of(**{name: None}) == chat_of()
    for odd in ({"no": "such"}, ["no such"], "no such", True):
        error = error_of(**{name: odd})
        if error is not None:
            # Not the field itself is unknown; at the most something in it.
            assert (error.code, error.param) != ("unknown_parameter", name)
            assert (error.param or "").startswith(name)


def test_what_no_api_has_is_refused_by_name() -> None:
    assert refused(colour="blue").param == "colour"
    assert refused(messages=[{"role": "user", "content": "hi", "colour": "blue"}]).param == "messages[0].colour"
    assert refused(tool_choice={"type": "auto", "colour": "blue"}).param == "tool_choice.colour"


def test_options_become_those_of_a_chat() -> None:
    chat = chat_of(
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        service_tier="standard_only",
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        thinking={"type": "enabled", "budget_tokens": 2048},
        cache_control={"type": "ephemeral"},
    )
    assert chat == {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "stop": ["END"],
        "user": "u",
        "service_tier": "default",
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": {"type": "object"}, "strict": True},
        },
        "chat_template_kwargs": {"enable_thinking": True},
        "thinking_budget_tokens": 2048,
    }


def test_images_are_passed_on_as_urls() -> None:
    held = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    url = {"type": "url", "url": "http://a/b"}
    assert parts_of({"type": "image", "source": held}, {"type": "image", "source": url}) == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "http://a/b"}},
    ]
    kept = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    assert refused(messages=user(kept)).param == "messages[0].content[0].source.type"


def test_documents_are_passed_on_as_text_or_as_files() -> None:
    text = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "body"}}
    assert parts_of(text) == [{"type": "text", "text": "T"}, {"type": "text", "text": "body"}]
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
    assert parts_of(pdf) == [
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
    ]
    cited = {**text, "citations": {"enabled": True}}
    assert refused(messages=user(cited)).param == "messages[0].content[0].citations.enabled"


def test_an_image_in_a_tools_result_follows_the_results() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "http://a/b"}}
    results = [
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "seen"}, image]},
        {"type": "tool_result", "tool_use_id": "c2"},
    ]
    assert chat_of(messages=user(*results))["messages"] == [
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "From the result of c1:"},
                {"type": "image_url", "image_url": {"url": "http://a/b"}},
            ],
        },
    ]


def test_what_the_assistant_thought_said_and_called_is_one_message() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 12345678901234567890123}},
    ]
    chat = chat_of(messages=[*LEAST["messages"], {"role": "assistant", "content": blocks}, *user()])
    assert chat["messages"][1] == {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "hm",
        "tool_calls": [
            call("look", '{"at":12345678901234567890123}', "c1"),
        ],
    }


def test_an_assistants_last_message_is_continued() -> None:
    chat = chat_of(messages=[*LEAST["messages"], {"role": "assistant", "content": "The answer is"}])
    assert (chat["continue_final_message"], chat["add_generation_prompt"]) == (True, False)


def test_a_system_prompt_in_parts_is_one_message() -> None:
    parts = [{"type": "text", "text": "A.", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "B."}]
    assert chat_of(system=parts)["messages"][0] == {"role": "system", "content": "A.\n\nB."}


def test_thoughts_are_told_unless_they_are_not_wanted() -> None:
    def shown(**thinking: Any) -> bool:
        return read_message_request({**LEAST, **({"thinking": thinking} if thinking else {})}).shows_thinking

    assert shown()
    assert shown(type="adaptive")
    assert not shown(type="adaptive", display="omitted")
    assert not shown(type="disabled")
    assert chat_of(thinking={"type": "disabled"})["chat_template_kwargs"] == {"enable_thinking": False}


def test_what_is_needed_is_asked_for() -> None:
    with pytest.raises(InvalidRequestError, match="max_tokens: Field required"):
        read_message_request({"model": "m", "messages": []})
    assert read_message_request({"model": "m", "messages": LEAST["messages"]}, counting=True).chat["model"] == "m"
    assert refused(model=None).param == "model"
    assert refused(messages=None).param == "messages"
    assert refused(tools=[{"name": "t"}]).param == "tools[0].input_schema"
