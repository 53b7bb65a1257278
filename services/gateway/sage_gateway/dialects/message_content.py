"""The content blocks of Anthropic's messages, as parts and messages of a chat."""

from __future__ import annotations

from typing import Any

from sage_control_plane.request.body_fields import wrong_field
from sage_gateway.dialects.chat_messages import ChatMessages, Part, file_part, function_call, image_part, text_part
from sage_gateway.dialects.fields import Fields, not_served
from sage_mesh import exact_json

# A mark for a cache that is asked for; engines keep every prefix that they have room for without being asked.
CACHE_MARK = "cache_control"
_NO_CITATIONS = "engines do not say which passage an answer is from"
_NO_FILES = "no files are kept; send the content itself"


def add_messages(chat: ChatMessages, values: list[Any]) -> None:
    """Add the messages of a request. Raises InvalidRequestError."""
    for number, value in enumerate(values):
        fields = Fields(value, f"messages[{number}]")
        role = fields.choice("role", ("user", "assistant", "system"))
        if role is None:
            raise wrong_field(fields.at("role"), None, "'user' or 'assistant'")
        blocks = read_blocks(fields, "content")
        fields.finish()
        if role == "system":
            chat.system(system_text(blocks))
        elif role == "user":
            _add_user(chat, blocks)
        else:
            _add_assistant(chat, blocks)


def read_blocks(fields: Fields, name: str) -> list[Fields]:
    """Return the blocks of a field that is a string or a list of them."""
    given = fields.take(name)
    if isinstance(given, str):
        return [Fields({"type": "text", "text": given}, fields.at(name))]
    if not isinstance(given, list):
        raise wrong_field(fields.at(name), given, "a string or a list of content blocks")
    return [Fields(block, f"{fields.at(name)}[{number}]") for number, block in enumerate(given)]


def system_text(blocks: list[Fields]) -> str:
    """Return the text of a system prompt. Raises InvalidRequestError for blocks that are none."""
    texts = []
    for block in blocks:
        if block.required_text("type") != "text":
            raise wrong_field(block.at("type"), None, "'text', in a system prompt")
        texts.append(_text(block))
    return "\n\n".join(texts)


def _add_user(chat: ChatMessages, blocks: list[Fields]) -> None:
    parts: list[Part] = []
    for block in blocks:
        kind = block.required_text("type")
        if kind == "tool_result":
            _add_tool_result(chat, block)
        else:
            parts += _parts(kind, block)
    if parts:
        chat.user(parts)
    else:
        chat.flush()


def _add_tool_result(chat: ChatMessages, block: Fields) -> None:
    call_id = block.required_text("tool_use_id")
    failed = block.flag("is_error")
    block.take(CACHE_MARK)
    block.refuse({"toolset_name": "toolsets are Anthropic's own"})
    inner = read_blocks(block, "content") if "content" in block else []
    block.finish()
    parts = [part for one in inner for part in _parts(one.required_text("type"), one)]
    # A chat has no other way to say it.
    chat.tool(call_id, [text_part("Error:"), *parts] if failed else parts)


def _add_assistant(chat: ChatMessages, blocks: list[Fields]) -> None:
    for block in blocks:
        match kind := block.required_text("type"):
            case "text":
                chat.assistant(_text(block))
            case "thinking":
                chat.assistant(reasoning=block.required_text("thinking"))
                # Engines sign nothing, so there is nothing to compare it with.
                block.text("signature")
                block.finish()
            case "tool_use":
                chat.assistant(calls=[_tool_use(block)])
            case _:
                raise not_served(block.at("type"), f"a block of type {kind[:40]!r} can only be read by its maker")


def _tool_use(block: Fields) -> dict[str, Any]:
    call_id, name = block.required_text("id"), block.required_text("name")
    arguments = block.mapping("input") or {}
    caller = block.inner("caller")
    if caller is not None and caller.text("type") != "direct":
        raise not_served(caller.at("type"), "tools are called by the model alone")
    block.take(CACHE_MARK)
    block.refuse({"toolset_name": "toolsets are Anthropic's own"})
    block.finish()
    return function_call(call_id, name, exact_json.write(arguments).decode())


def _parts(kind: str, block: Fields) -> list[Part]:
    match kind:
        case "text":
            return [text_part(_text(block))]
        case "image":
            return [_image(block)]
        case "document":
            return _document(block)
    raise not_served(block.at("type"), f"blocks of type {kind[:40]!r} are not; send text, images or documents")


def _text(block: Fields) -> str:
    text = block.required_text("text")
    block.take(CACHE_MARK)
    # Of an answer that is sent back; they say nothing to a model.
    block.items("citations")
    block.finish()
    return text


def _image(block: Fields) -> Part:
    source = block.inner("source") or Fields({}, block.at("source"))
    changes = block.inner("transformations")
    if changes is not None and changes.choice("oversized_image", ("downsize", "error")) == "error":
        raise not_served(changes.at("oversized_image"), "how large an image may be is for the engine to say")
    block.take(CACHE_MARK)
    block.finish()
    match source.required_text("type"):
        case "base64":
            url = f"data:{source.required_text('media_type')};base64,{source.required_text('data')}"
        case "url":
            url = source.required_text("url")
        case _:
            raise not_served(source.at("type"), _NO_FILES)
    source.finish()
    return image_part(url)


def _document(block: Fields) -> list[Part]:
    source = block.inner("source") or Fields({}, block.at("source"))
    title, context = block.text("title"), block.text("context")
    citations = block.inner("citations")
    if citations is not None and citations.flag("enabled"):
        raise not_served(citations.at("enabled"), _NO_CITATIONS)
    block.take(CACHE_MARK)
    block.finish()
    match source.required_text("type"):
        case "text":
            parts = [text_part(source.required_text("data"))]
            source.choice("media_type", ("text/plain",))
        case "content":
            parts = [part for one in read_blocks(source, "content") for part in _parts(one.required_text("type"), one)]
        case "base64":
            media_type = source.choice("media_type", ("application/pdf",)) or "application/pdf"
            url = f"data:{media_type};base64,{source.required_text('data')}"
            parts = [file_part(title or "document.pdf", url)]
        case _:
            raise not_served(source.at("type"), _NO_FILES)
    source.finish()
    about = [text_part(text) for text in (title, context) if text]
    return [*about, *parts]
