"""The two forms of an answer, a stream of events and one document, and making the one of the other. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from sage_control_plane.request.request import Endpoint
from sage_mesh import exact_json
from sage_mesh.reply import Media
from sage_mesh.sse import DONE_EVENT

_EVENT_FIELD: Final = re.compile(rb"(?:data|event|id|retry)[ \t]*:|:")
# The longest of these names.
_FIELD_BYTES: Final = 6
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_COMMON: Final = ("id", "created", "model", "system_fingerprint", "service_tier")


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
    common: dict[str, Any] = {name: document[name] for name in _COMMON if name in document}
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


class AnswerFolder:
    """Folds the events of a stream into the whole answer that they say."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._chat = endpoint is Endpoint.CHAT_COMPLETIONS
        self._common: dict[str, Any] = {}
        self._choices: dict[Any, dict[str, Any]] = {}
        self._usage: Any = None

    def take(self, chunk: dict[str, Any]) -> None:
        """Take in the object of one event."""
        for name in _COMMON:
            if name not in self._common and chunk.get(name) is not None:
                self._common[name] = chunk[name]
        if chunk.get("usage") is not None:
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._take_choice(choice)

    def document(self) -> dict[str, Any]:
        """Return the whole answer so far."""
        choices = [self._choices[index] for index in sorted(self._choices, key=str)]
        for choice in choices:
            # Only the parts of a call are numbered.
            for call in (choice.get("message") or {}).get("tool_calls") or ():
                call.pop("index", None)
        kind = "chat.completion" if self._chat else "text_completion"
        whole = {**self._common, "object": kind, "choices": choices}
        return whole if self._usage is None else {**whole, "usage": self._usage}

    def _take_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index") or 0
        content: dict[str, Any] = {"message": {"role": "assistant", "content": None}} if self._chat else {"text": ""}
        whole = self._choices.setdefault(index, {"index": index, **content, "finish_reason": None})
        for name, value in choice.items():
            if name == "delta" and isinstance(value, dict):
                _merge(whole.setdefault("message", {}), value)
            elif name == "text" and isinstance(value, str):
                whole["text"] = (whole.get("text") or "") + value
            elif name == "logprobs" and isinstance(value, dict):
                whole["logprobs"] = _merge(whole.get("logprobs") or {}, value)
            elif name != "index" and (value is not None or name not in whole):
                whole[name] = value


# Said once, in whichever chunk it comes; a server may repeat it.
_ONCE: Final = ("role", "id", "type", "name", "index")


def _merge(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Add a part of a message to it: texts are joined, lists are lengthened, calls of tools are joined by index."""
    for name, value in part.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif before is None or (name in _ONCE and value):
            whole[name] = _collect([], value) if isinstance(value, list) else value
        elif isinstance(before, str) and isinstance(value, str):
            whole[name] = before + value
        elif isinstance(before, list) and isinstance(value, list):
            _collect(before, value)
        elif isinstance(before, dict) and isinstance(value, dict):
            _merge(before, value)
        else:
            whole[name] = value
    return whole


def _collect(whole: list[Any], part: list[Any]) -> list[Any]:
    for value in part:
        index = value.get("index") if isinstance(value, dict) else None
        same = next((one for one in whole if isinstance(one, dict) and one.get("index") == index), None)
        if index is None or same is None:
            whole.append(value)
        else:
            _merge(same, value)
    return whole


def _delta(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    numbered = [{"index": place, **call} if isinstance(call, dict) else call for place, call in enumerate(calls)]
    return {**message, "tool_calls": numbered}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + exact_json.write(value) + b"\n\n"
