"""Building the messages of a chat completion so that engines of every kind take them.

Chat templates are stricter than any API: many know no role ``developer``, want one system message, at the start, a
tool's result right after the call, and text in it alone.
"""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]


def text_part(text: str) -> Part:
    """Return a part of text."""
    return {"type": "text", "text": text}


def image_part(url: str, detail: str | None = None) -> Part:
    """Return a part that is an image: a URL, or a ``data:`` URL that holds it."""
    return {"type": "image_url", "image_url": {"url": url} if detail is None else {"url": url, "detail": detail}}


def file_part(filename: str, data_url: str) -> Part:
    """Return a part that is a file."""
    return {"type": "file", "file": {"filename": filename, "file_data": data_url}}


def function_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Return a call of a function; ``arguments`` are JSON text."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


class ChatMessages:
    """The messages so far, in order."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        # Images of tool results wait for the message that may hold them.
        self._images: list[Part] = []

    def system(self, text: str) -> None:
        """Add instructions; they are joined with those before them."""
        self.flush()
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == "system":
            last["content"] = f"{last['content']}\n\n{text}"
        else:
            self.messages.append({"role": "system", "content": text})

    def user(self, parts: list[Part]) -> None:
        """Add what the user said; text alone becomes a string, which every engine reads."""
        parts = [*self._take_images(), *parts]
        if len(parts) == 1 and parts[0]["type"] == "text":
            self.messages.append({"role": "user", "content": parts[0]["text"]})
        else:
            self.messages.append({"role": "user", "content": parts})

    def assistant(
        self,
        text: str | None = None,
        *,
        reasoning: str = "",
        refusal: str = "",
        calls: list[dict[str, Any]] | None = None,
    ) -> None:
        """Add to what the assistant said: a text after reasoning, or calls after a text, are of one message."""
        self.flush()
        message = self.messages[-1] if self.messages else None
        goes_on = message is not None and message["role"] == "assistant"
        if message is None or not goes_on or (message.get("tool_calls") and (text or reasoning or refusal)):
            message = {"role": "assistant", "content": None}
            self.messages.append(message)
        if text is not None:
            message["content"] = (message["content"] or "") + text
        if reasoning:
            message["reasoning_content"] = message.get("reasoning_content", "") + reasoning
        if refusal:
            message["refusal"] = message.get("refusal", "") + refusal
        if calls:
            message.setdefault("tool_calls", []).extend(calls)

    def tool(self, call_id: str, parts: list[Part]) -> None:
        """Add a tool's result; what of it is no text follows in the next message of the user."""
        texts = [part["text"] for part in parts if part["type"] == "text"]
        rest = [part for part in parts if part["type"] != "text"]
        if rest:
            self._images += [text_part(f"From the result of {call_id}:"), *rest]
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": "\n".join(texts)})

    def flush(self) -> None:
        """Give what waits a message of its own."""
        if self._images:
            self.user([])

    def _take_images(self) -> list[Part]:
        images, self._images = self._images, []
        return images
