"""Folding a streamed answer into the document that says the same. Pure."""

from __future__ import annotations

from typing import Any, Final

from sage_control_plane.request.request import Endpoint

# What all chunks of a stream say alike.
COMMON_FIELDS: Final = ("id", "created", "model", "system_fingerprint", "service_tier")


class AnswerFolder:
    """Folds the events of a stream into the whole answer that they say."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._chat = endpoint is Endpoint.CHAT_COMPLETIONS
        self._common: dict[str, Any] = {}
        self._choices: dict[Any, dict[str, Any]] = {}
        self._usage: Any = None

    def take(self, chunk: dict[str, Any]) -> None:
        """Take in the object of one event."""
        for name in COMMON_FIELDS:
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
