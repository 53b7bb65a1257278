"""The OpenAI API's answer objects, for an engine that writes them itself."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from sage_control_plane.request.request import Endpoint
from sage_mesh.openai_answer import usage_object
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import DONE_EVENT


@dataclass(frozen=True, slots=True)
class AnswerObjects:
    """Renders one answer.

    Attributes:
        created: Unix seconds.
        include_usage: whether the caller of a stream asked for the usage.
    """

    endpoint: Endpoint
    request_id: str
    model: str
    created: int
    include_usage: bool = False

    @property
    def _chat(self) -> bool:
        return self.endpoint is Endpoint.CHAT_COMPLETIONS

    def whole(self, text: str, finish_reason: str, usage: TokenUsage) -> bytes:
        """Return the complete answer as one JSON document."""
        content = {"message": {"role": "assistant", "content": text, "refusal": None}} if self._chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}
        kind = "chat.completion" if self._chat else "text_completion"
        return orjson.dumps({**self._common(kind), "choices": [choice], "usage": usage_object(usage)})

    def opening(self) -> bytes:
        """Return the event that opens a stream: a chat's first chunk names the role."""
        return self._choice({"role": "assistant", "content": ""}, None) if self._chat else b""

    def piece(self, text: str) -> bytes:
        """Return the event for a piece of text."""
        return self._choice({"content": text} if self._chat else text, None)

    def closing(self, finish_reason: str, usage: TokenUsage) -> bytes:
        """Return the events that end a stream."""
        last = self._choice({} if self._chat else "", finish_reason)
        if self.include_usage:
            last += _event({**self._common(self._chunk_kind), "choices": [], "usage": usage_object(usage)})
        return last + DONE_EVENT

    def _choice(self, content: dict[str, str] | str, finish_reason: str | None) -> bytes:
        field = "delta" if self._chat else "text"
        choice = {"index": 0, field: content, "logprobs": None, "finish_reason": finish_reason}
        chunk: dict[str, object] = {**self._common(self._chunk_kind), "choices": [choice]}
        if self.include_usage:
            # The API says so: null on every chunk but the one that has it.
            chunk["usage"] = None
        return _event(chunk)

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _common(self, kind: str) -> dict[str, object]:
        prefix = "chatcmpl" if self._chat else "cmpl"
        return {
            "id": f"{prefix}-{self.request_id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
        }


def _event(value: dict[str, object]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
