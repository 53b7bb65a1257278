"""The two forms of an answer, a stream of events and one document, and making the one of the other. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from sage_control_plane.request.request import Endpoint
from sage_mesh import exact_json
from sage_mesh.answer_folder import COMMON_FIELDS
from sage_mesh.reply import Media
from sage_mesh.sse import DONE_EVENT

_EVENT_FIELD: Final = re.compile(rb"(?:data|event|id|retry)[ \t]*:|:")
# The longest of these names.
_FIELD_BYTES: Final = 6
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def form_of(first_bytes: bytes, content_type: str) -> Media | None:
    """Return an answer's form, by its first bytes; None while there are too few of them.

    A content type is believed only where the bytes do not tell: servers and proxies leave it out, or name another.

    Args:
        content_type: without parameters; empty where the answer has none.
    """
    start = first_bytes.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if not start:
        return None
    if start[:1] in (b"{", b"["):
        return Media.JSON
    if _EVENT_FIELD.match(start):
        return Media.EVENT_STREAM
    if len(start) < _FIELD_BYTES:
        return None
    return Media.EVENT_STREAM if content_type == "text/event-stream" else Media.JSON


def is_answer(document: Any, endpoint: Endpoint) -> bool:
    """Return whether a parsed document has what an answer of the endpoint must have."""
    if not isinstance(document, dict):
        return False
    field = "data" if endpoint is Endpoint.EMBEDDINGS else "choices"
    return isinstance(document.get(field), list) and bool(document[field])


def events_of(document: dict[str, Any], endpoint: Endpoint, *, include_usage: bool) -> bytes:
    """Return the stream that says what a whole answer says: the choices' contents, their ends, the usage, [DONE].

    Args:
        document: an answer, by ``is_answer``.
        include_usage: whether the caller asked for the usage of the stream.
    """
    chat = endpoint is Endpoint.CHAT_COMPLETIONS
    common: dict[str, Any] = {name: document[name] for name in COMMON_FIELDS if name in document}
    common["object"] = "chat.completion.chunk" if chat else "text_completion"
    parts: list[bytes] = []
    for place, choice in enumerate(document["choices"]):
        if not isinstance(choice, dict):
            continue
        said = {name: value for name, value in choice.items() if name not in ("message", "delta", "finish_reason")}
        said.setdefault("index", place)
        ended: dict[str, Any] = {"index": said["index"], "finish_reason": choice.get("finish_reason") or "stop"}
        if chat:
            # A completion's text, where a chat goes on from its tokens.
            message = choice.get("message") or choice.get("delta") or {"content": said.pop("text", "")}
            said["delta"] = _delta(message) if isinstance(message, dict) else {"content": message}
            ended["delta"] = {}
        else:
            said.setdefault("text", "")
            ended["text"] = ""
        parts.append(_event({**common, "choices": [{**said, "finish_reason": None}]}))
        parts.append(_event({**common, "choices": [ended]}))
    if include_usage and document.get("usage") is not None:
        parts.append(_event({**common, "choices": [], "usage": document["usage"]}))
    return b"".join(parts) + DONE_EVENT


def _delta(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    numbered = [{"index": place, **call} if isinstance(call, dict) else call for place, call in enumerate(calls)]
    return {**message, "tool_calls": numbered}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + exact_json.write(value) + b"\n\n"
