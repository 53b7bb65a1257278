"""The input items of the Responses API, as the messages of a chat."""

from __future__ import annotations

from typing import Any

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body_fields import wrong_field
from sage_gateway.dialects.chat_messages import ChatMessages, Part, file_part, function_call, image_part, text_part
from sage_gateway.dialects.fields import Fields, not_served

_ROLES = ("user", "assistant", "system", "developer")
_STATUSES = ("in_progress", "completed", "incomplete")
_NO_FILES = "no files are kept and none are fetched; send the content itself"
# Marks for a cache: engines keep every prefix that they have room for without being asked.
_CACHE_MARK = "prompt_cache_breakpoint"


def add_input(chat: ChatMessages, given: Any) -> None:
    """Add the input of a request: a string, or items. Raises InvalidRequestError."""
    if isinstance(given, str):
        chat.user([text_part(given)])
        return
    if not isinstance(given, list):
        raise wrong_field("input", given, "a string or a list of items")
    for number, value in enumerate(given):
        _add_item(chat, Fields(value, f"input[{number}]"))
    chat.flush()


def _add_item(chat: ChatMessages, item: Fields) -> None:
    kind = item.text("type") or "message"
    item.choice("status", _STATUSES)
    if kind != "message":
        # Of a message too, but there it is the caller's to make up.
        item.text("id")
    match kind:
        case "message":
            _add_message(chat, item)
        case "function_call":
            name, arguments = item.required_text("name"), item.required_text("arguments")
            _called_directly(item)
            chat.assistant(calls=[function_call(item.required_text("call_id"), name, arguments)])
        case "custom_tool_call":
            custom = {"name": item.required_text("name"), "input": item.required_text("input")}
            _called_directly(item)
            chat.assistant(calls=[{"id": item.required_text("call_id"), "type": "custom", "custom": custom}])
        case "function_call_output" | "custom_tool_call_output":
            # The call says the name already.
            item.text("name")
            _called_directly(item)
            chat.tool(item.required_text("call_id"), _content(item, "output"))
        case "reasoning":
            _add_reasoning(chat, item)
        case _:
            raise not_served(item.at("type"), f"items of type {kind[:40]!r} are of what OpenAI keeps or runs itself")
    item.finish()


def _called_directly(item: Fields) -> None:
    caller = item.inner("caller")
    if caller is not None and caller.text("type") != "direct":
        raise not_served(caller.at("type"), "tools are called by the model alone")
    item.refuse({"namespace": "tools have no namespaces here", "async": "calls end an answer"})


def _add_message(chat: ChatMessages, item: Fields) -> None:
    role = item.choice("role", _ROLES)
    if role is None:
        raise wrong_field(item.at("role"), None, f"one of {', '.join(_ROLES)}")
    item.text("id")
    # A label that models of OpenAI's own want back.
    item.choice("phase", ("commentary", "final_answer"))
    parts = _content(item, "content")
    if role == "user":
        chat.user(parts)
        return
    for part in parts:
        if part["type"] == "refusal" and role == "assistant":
            chat.assistant(refusal=part["refusal"])
        elif part["type"] != "text":
            raise not_served(item.at("content"), f"a message of the {role} holds text alone")
        elif role == "assistant":
            chat.assistant(part["text"])
        else:
            chat.system(part["text"])


def _add_reasoning(chat: ChatMessages, item: Fields) -> None:
    said = [*(item.items("content") or ()), *(item.items("summary") or ())]
    texts = []
    for number, value in enumerate(said):
        part = Fields(value, f"{item.path}.content[{number}]")
        part.choice("type", ("reasoning_text", "summary_text"))
        texts.append(part.required_text("text"))
        part.finish()
    encrypted = item.text("encrypted_content")
    if encrypted and not texts:
        raise not_served(item.at("encrypted_content"), "only its maker can read it; leave the item out")
    chat.assistant(reasoning="\n".join(texts))


def _content(item: Fields, name: str) -> list[Part]:
    given = item.take(name)
    if isinstance(given, str):
        return [text_part(given)]
    if not isinstance(given, list):
        raise wrong_field(item.at(name), given, "a string or a list of parts")
    return [_part(Fields(value, f"{item.at(name)}[{number}]")) for number, value in enumerate(given)]


def _part(part: Fields) -> Part:
    kind = part.required_text("type")
    part.take(_CACHE_MARK)
    match kind:
        case "input_text" | "output_text" | "text":
            made = text_part(part.required_text("text"))
            # Of an answer that is sent back.
            part.items("annotations")
            part.items("logprobs")
        case "refusal":
            made = {"type": "refusal", "refusal": part.required_text("refusal")}
        case "input_image":
            part.refuse({"file_id": _NO_FILES})
            made = image_part(part.required_text("image_url"), part.text("detail"))
        case "input_file":
            part.refuse({"file_id": _NO_FILES, "file_url": _NO_FILES})
            part.text("detail")
            made = file_part(part.text("filename") or "file", part.required_text("file_data"))
        case "input_audio":
            made = {"type": "input_audio", "input_audio": part.mapping("input_audio")}
            if made["input_audio"] is None:
                raise InvalidRequestError(f"'{part.at('input_audio')}' is needed", param=part.at("input_audio"))
        case _:
            raise not_served(part.at("type"), f"parts of type {kind[:40]!r} are not; send text, images, files or sound")
    part.finish()
    return made
