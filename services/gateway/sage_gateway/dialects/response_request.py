"""A request of OpenAI's Responses API, as a chat completion. Source: the types of the ``openai`` package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sage_common.errors import InvalidRequestError
from sage_gateway.dialects.chat_messages import ChatMessages
from sage_gateway.dialects.dialect import ENGINE_OPTIONS
from sage_gateway.dialects.fields import Fields, not_served
from sage_gateway.dialects.response_input import add_input
from sage_gateway.dialects.response_tools import chat_tools, choose_tools

REFUSED = {
    "access_programs": "there are none",
    "background_options": "there is one way to be in the background",
    "context_management": "the context is the caller's to edit",
    "conversation": "conversations are not kept; 'previous_response_id' goes on from a stored response",
    "image": "images are the engine's to judge",
    "moderation": "answers are not moderated",
    "personality": "'instructions' say how to answer",
    "prompt": "no prompts are kept; send 'instructions' and 'input'",
}
PASSED_ON = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
    *ENGINE_OPTIONS,
)
# What an answer says again of its request, and what it says where the request was silent.
_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_LOGPROBS = "message.output_text.logprobs"
# Reasoning is told in full, so that nothing has to be encrypted to come back.
_REASONING = "reasoning.encrypted_content"


class ResponseRequest(NamedTuple):
    """A request, read.

    Attributes:
        chat: the chat completion that it asks for.
        streaming: whether it asks for events.
        echo: the fields that the answer says again.
        logprobs: whether log probabilities were asked for.
        store: whether the response is to be stored; None where the request does not say.
        background: whether it is to be made while nobody waits for it.
    """

    chat: dict[str, Any]
    streaming: bool
    echo: dict[str, Any]
    logprobs: bool
    store: bool | None
    background: bool


def read_response_request(value: dict[str, Any], earlier: Sequence[dict[str, Any]] = ()) -> ResponseRequest:
    """Translate a parsed body.

    Args:
        earlier: items of the conversation that the request goes on with.

    Raises:
        InvalidRequestError: a field has the wrong shape or is not served; ``param`` names it.
    """
    fields = Fields(value)
    given = {name: value[name] for name in _ECHOED if value.get(name) is not None}
    fields.refuse(REFUSED)
    model = fields.text("model")
    body: dict[str, Any] = {} if model is None else {"model": model}
    body["messages"] = _read_messages(fields, earlier)
    store, background = fields.flag("store"), fields.flag("background") or False
    # Whoever calls has found it.
    fields.text("previous_response_id")
    if background and store is False:
        raise InvalidRequestError(
            "'store' is false; a response in the background is stored, or nobody could get it", param="store"
        )
    streaming = fields.flag("stream") or False
    if streaming:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    options = fields.inner("stream_options")
    if options is not None:
        options.refuse({"include_obfuscation": "events are not padded"})
        options.finish()
    limit = fields.whole("max_output_tokens", minimum=1)
    if limit is not None:
        body["max_tokens"] = limit
    for name in PASSED_ON:
        passed = fields.take(name)
        if passed is not None:
            body[name] = passed
    body |= choose_tools(fields.take("tool_choice"), chat_tools(fields.items("tools") or []))
    _read_text(fields.inner("text"), body)
    _read_reasoning(fields.inner("reasoning"), body)
    logprobs = _read_logprobs(fields, body)
    # Of tools that OpenAI runs; none are run here, so that no limit is passed.
    fields.whole("max_tool_calls")
    # Said again, and no more.
    fields.mapping("metadata")
    if fields.choice("truncation", ("auto", "disabled")) == "auto":
        raise not_served("truncation", "nothing is left out of what was said; 'disabled' is what happens")
    fields.finish()
    return ResponseRequest(body, streaming, {**_ECHOED, **given}, logprobs, store, background)


def _read_messages(fields: Fields, earlier: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    chat = ChatMessages()
    instructions = fields.text("instructions")
    if instructions is not None:
        chat.system(instructions)
    add_input(chat, list(earlier))
    given = fields.take("input")
    if given is None:
        raise InvalidRequestError("'input' is needed", code="missing_required_parameter", param="input")
    add_input(chat, given)
    return chat.messages


def _read_text(text: Fields | None, body: dict[str, Any]) -> None:
    if text is None:
        return
    verbosity = text.text("verbosity")
    if verbosity is not None:
        body["verbosity"] = verbosity
    form = text.inner("format")
    if form is not None:
        kind = form.choice("type", ("text", "json_object", "json_schema"))
        if kind == "json_schema":
            schema: dict[str, Any] = {"name": form.required_text("name"), "schema": form.mapping("schema") or {}}
            for name, given in (("description", form.text("description")), ("strict", form.flag("strict"))):
                if given is not None:
                    schema[name] = given
            body["response_format"] = {"type": kind, "json_schema": schema}
        elif kind == "json_object":
            body["response_format"] = {"type": kind}
        form.finish()
    text.finish()


def _read_reasoning(reasoning: Fields | None, body: dict[str, Any]) -> None:
    if reasoning is None:
        return
    effort = reasoning.text("effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    for name in ("summary", "generate_summary"):
        if reasoning.choice(name, ("auto", "concise", "detailed")) not in (None, "auto"):
            raise not_served(reasoning.at(name), "reasoning is told as it is, not summed up; 'auto' asks for that")
    if reasoning.text("context") not in (None, "auto", "all_turns"):
        raise not_served(reasoning.at("context"), "the model gets all reasoning that 'input' holds: 'all_turns'")
    if reasoning.text("mode") not in (None, "standard"):
        raise not_served(reasoning.at("mode"), "there is one mode, 'standard'")
    reasoning.finish()


def _read_logprobs(fields: Fields, body: dict[str, Any]) -> bool:
    include = fields.items("include") or []
    for name in include:
        if name not in (_LOGPROBS, _REASONING):
            raise not_served("include", f"{str(name)[:60]!r} is of what OpenAI keeps or runs itself")
    top = fields.whole("top_logprobs")
    wanted = _LOGPROBS in include or top is not None
    if wanted:
        body["logprobs"] = True
        if top is not None:
            body["top_logprobs"] = top
    return wanted
