"""The items of a response: each tells its events as it grows, and what it came to."""

from __future__ import annotations

from typing import Any, Protocol

from sage_gateway.dialects.chat_delta import CallDelta

# Type and fields; what sends it numbers it.
Event = tuple[str, dict[str, Any]]


class OutputItem(Protocol):
    """One item of the output, open until ``close``."""

    def open(self) -> list[Event]:
        """Return the events that begin it."""
        ...

    def close(self, status: str) -> list[Event]:
        """Return the events that end it; ``status`` is what becomes of it."""
        ...

    def value(self) -> dict[str, Any]:
        """Return it as it is now."""
        ...


class _TextPart:
    """A part of an item that is text, as it grows."""

    def __init__(self, item_id: str, output_index: int, content_index: int, kind: str, event: str) -> None:
        self._place = {"item_id": item_id, "output_index": output_index, "content_index": content_index}
        self.kind = kind
        self._event = event
        self._field = "refusal" if kind == "refusal" else "text"
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []

    def open(self) -> list[Event]:
        return [("response.content_part.added", {**self._place, "part": self.value()})]

    def add(self, text: str, logprobs: list[dict[str, Any]]) -> list[Event]:
        self._pieces.append(text)
        self._logprobs += logprobs
        return [(f"response.{self._event}.delta", {**self._place, "delta": text, **self._counted(logprobs)})]

    def close(self) -> list[Event]:
        text = {self._field: "".join(self._pieces)}
        return [
            (f"response.{self._event}.done", {**self._place, **text, **self._counted(self._logprobs)}),
            ("response.content_part.done", {**self._place, "part": self.value()}),
        ]

    def value(self) -> dict[str, Any]:
        value: dict[str, Any] = {"type": self.kind, self._field: "".join(self._pieces)}
        if self.kind == "output_text":
            value |= {"annotations": [], "logprobs": list(self._logprobs)}
        return value

    def _counted(self, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        return {"logprobs": list(logprobs)} if self.kind == "output_text" else {}


class MessageItem:
    """What the model says: texts, and refusals."""

    def __init__(self, item_id: str, index: int) -> None:
        self._id = item_id
        self._index = index
        self._parts: list[_TextPart] = []
        self._status = "in_progress"

    def open(self) -> list[Event]:
        """Return the event that begins it, without a part yet."""
        return [("response.output_item.added", {"output_index": self._index, "item": self.value()})]

    def add(self, text: str, logprobs: list[dict[str, Any]]) -> list[Event]:
        """Return the events for more text and the log probabilities of its tokens."""
        return self._into("output_text", "output_text", text, logprobs)

    def add_refusal(self, text: str) -> list[Event]:
        """Return the events for more of a refusal."""
        return self._into("refusal", "refusal", text, [])

    def close(self, status: str) -> list[Event]:
        """Return the events that end it."""
        events = self._parts[-1].close() if self._parts else []
        self._status = status
        return [*events, ("response.output_item.done", {"output_index": self._index, "item": self.value()})]

    def value(self) -> dict[str, Any]:
        """Return it as it is now."""
        content = [part.value() for part in self._parts]
        return {"id": self._id, "type": "message", "role": "assistant", "status": self._status, "content": content}

    def _into(self, kind: str, event: str, text: str, logprobs: list[dict[str, Any]]) -> list[Event]:
        events: list[Event] = []
        if not self._parts or self._parts[-1].kind != kind:
            events = self._parts[-1].close() if self._parts else []
            self._parts.append(_TextPart(self._id, self._index, len(self._parts), kind, event))
            events += self._parts[-1].open()
        return events + self._parts[-1].add(text, logprobs)


class ReasoningItem:
    """What the model thinks, as it is."""

    def __init__(self, item_id: str, index: int) -> None:
        self._id = item_id
        self._index = index
        self._part: _TextPart | None = None
        self._status = "in_progress"

    def open(self) -> list[Event]:
        """Return the event that begins it."""
        return [("response.output_item.added", {"output_index": self._index, "item": self.value()})]

    def add(self, text: str) -> list[Event]:
        """Return the events for more of it."""
        events: list[Event] = []
        if self._part is None:
            self._part = _TextPart(self._id, self._index, 0, "reasoning_text", "reasoning_text")
            events = self._part.open()
        return events + self._part.add(text, [])

    def close(self, status: str) -> list[Event]:
        """Return the events that end it."""
        events = self._part.close() if self._part else []
        self._status = status
        return [*events, ("response.output_item.done", {"output_index": self._index, "item": self.value()})]

    def value(self) -> dict[str, Any]:
        """Return it as it is now."""
        content = [self._part.value()] if self._part else []
        return {"id": self._id, "type": "reasoning", "status": self._status, "summary": [], "content": content}


class CallItem:
    """A call of a tool: of a function with JSON, or of a custom tool with text.

    Args:
        identity: its type, call id and name.
        field: that holds the arguments.
        event: that tells of them.
    """

    def __init__(self, item_id: str, index: int, identity: dict[str, Any], field: str, event: str) -> None:
        self._id = item_id
        self._index = index
        self._identity = identity
        self._field = field
        self._event = event
        self._pieces: list[str] = []
        self._status = "in_progress"

    def open(self) -> list[Event]:
        """Return the event that begins it."""
        return [("response.output_item.added", {"output_index": self._index, "item": self.value()})]

    def add(self, arguments: str) -> list[Event]:
        """Return the events for more of the arguments."""
        if not arguments:
            return []
        self._pieces.append(arguments)
        return [(f"response.{self._event}.delta", {**self._place, "delta": arguments})]

    def close(self, status: str) -> list[Event]:
        """Return the events that end it."""
        self._status = status
        return [
            (f"response.{self._event}.done", {**self._place, self._field: "".join(self._pieces)}),
            ("response.output_item.done", {"output_index": self._index, "item": self.value()}),
        ]

    def value(self) -> dict[str, Any]:
        """Return it as it is now."""
        return {"id": self._id, **self._identity, "status": self._status, self._field: "".join(self._pieces)}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self._index}


def call_item(call: CallDelta, answer_id: str, index: int) -> CallItem:
    """Return the item that a call's first part begins."""
    kind, prefix = ("custom_tool_call", "ctc") if call.custom else ("function_call", "fc")
    field, event = ("input", "custom_tool_call_input") if call.custom else ("arguments", "function_call_arguments")
    call_id = call.id or f"call_{answer_id}_{call.index}"
    identity = {"type": kind, "call_id": call_id, "name": call.name}
    return CallItem(f"{prefix}_{answer_id}_{index}", index, identity, field, event)
