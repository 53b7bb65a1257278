"""A request of Anthropic's Messages API, as a chat completion. Source: the types of the ``anthropic`` package."""

from __future__ import annotations

from typing import Any, NamedTuple

from sage_common.errors import InvalidRequestError
from sage_gateway.dialects.chat_messages import ChatMessages
from sage_gateway.dialects.dialect import ENGINE_OPTIONS
from sage_gateway.dialects.fields import Fields, not_served
from sage_gateway.dialects.message_content import CACHE_MARK, add_messages, read_blocks, system_text
from sage_gateway.dialects.message_tools import chat_tool_choice, chat_tools

REFUSED = {
    "billing_policy": "nothing is billed by request",
    "compaction": "the context is the caller's to edit",
    "container": "there are no containers",
    "context_management": "the context is the caller's to edit",
    "diagnostics": "earlier requests are not kept to compare with",
    "fallback_credit_token": "nothing is billed by request",
    "fallbacks": "which model answers is the operator's choice; name one",
    "inference_geo": "where a model runs is the operator's choice; leave it out",
    "mcp_servers": "tools are run by the caller",
    "user_profile_id": "who pays is said by the API key, or X-Sage-Tenant",
    "workspace_id": "who pays is said by the API key, or X-Sage-Tenant",
}
PASSED_ON = ("temperature", "top_p", *ENGINE_OPTIONS)
_THINKING = ("enabled", "adaptive", "between_tools", "disabled")


class MessageRequest(NamedTuple):
    """A request, read.

    Attributes:
        chat: the chat completion that it asks for.
        streaming: whether it asks for events.
        shows_thinking: whether the model's reasoning is to be told.
    """

    chat: dict[str, Any]
    streaming: bool
    shows_thinking: bool


def read_message_request(value: dict[str, Any], *, counting: bool = False) -> MessageRequest:
    """Translate a parsed body.

    Args:
        counting: whether its tokens are only counted, so that no answer is limited.

    Raises:
        InvalidRequestError: a field has the wrong shape or is not served; ``param`` names it.
    """
    fields = Fields(value)
    body: dict[str, Any] = {"model": fields.required_text("model")}
    chat = ChatMessages()
    system = fields.take("system")
    if system is not None:
        chat.system(system_text(read_blocks(Fields({"system": system}), "system")))
    add_messages(chat, fields.required_items("messages"))
    body["messages"] = chat.messages
    goes_on = bool(chat.messages) and chat.messages[-1]["role"] == "assistant"
    if goes_on:
        # The answer goes on where the last message ends; these are the words of vLLM and SGLang for it.
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    limit = fields.whole("max_tokens")
    if limit is not None:
        if limit == 0:
            raise not_served("max_tokens", "0 would fill a cache without an answer; ask for at least 1")
        body["max_tokens"] = limit
    elif not counting:
        raise InvalidRequestError("max_tokens: Field required", code="missing_required_parameter", param="max_tokens")
    streaming = fields.flag("stream") or False
    if streaming or goes_on:
        # llama.cpp repeats the message that it continues, in one piece but not in a stream.
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    _read_options(fields, body)
    shows_thinking = _read_thinking(fields.inner("thinking"), body)
    if fields.take("thread") is not None:
        # By this code the SDK knows that it is to send the whole conversation instead.
        raise InvalidRequestError(
            "'thread' is not served here: conversations are not kept; send all messages",
            code="thread_unsupported_request",
            param="thread",
        )
    fields.refuse(REFUSED)
    fields.finish()
    return MessageRequest(body, streaming, shows_thinking)


def _read_options(fields: Fields, body: dict[str, Any]) -> None:
    tools = fields.items("tools")
    if tools:
        body["tools"] = chat_tools(tools)
    choice = fields.inner("tool_choice")
    if choice is not None:
        body |= chat_tool_choice(choice)
    stops = fields.items("stop_sequences")
    if stops:
        body["stop"] = stops
    for name in PASSED_ON:
        given = fields.take(name)
        if given is not None:
            body[name] = given
    metadata = fields.inner("metadata")
    if metadata is not None:
        user = metadata.text("user_id")
        if user is not None:
            body["user"] = user
        metadata.finish()
    tier = fields.choice("service_tier", ("auto", "standard_only"))
    if tier is not None:
        body["service_tier"] = "auto" if tier == "auto" else "default"
    if fields.choice("speed", ("standard", "fast")) == "fast":
        raise not_served("speed", "there is one speed; X-Request-Priority says what is urgent")
    fields.take(CACHE_MARK)
    _read_output(fields.inner("output_config"), body)


def _read_output(config: Fields | None, body: dict[str, Any]) -> None:
    if config is None:
        return
    effort = config.text("effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    form = config.inner("format")
    if form is not None:
        form.choice("type", ("json_schema",))
        schema = {"name": "output", "schema": form.mapping("schema") or {}, "strict": True}
        form.finish()
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    config.finish()


def _read_thinking(thinking: Fields | None, body: dict[str, Any]) -> bool:
    """Read how the model is to think; return whether its thoughts are to be told.

    Templates of models that can do without are told by ``chat_template_kwargs``; the budget is llama.cpp's.
    """
    if thinking is None:
        return True
    kind = thinking.choice("type", _THINKING)
    budget = thinking.whole("budget_tokens")
    display = thinking.choice("display", ("summarized", "omitted"))
    thinking.finish()
    body["chat_template_kwargs"] = {"enable_thinking": kind != "disabled", **body.get("chat_template_kwargs", {})}
    if budget is not None and kind == "enabled":
        body["thinking_budget_tokens"] = budget
    return kind != "disabled" and display != "omitted"
