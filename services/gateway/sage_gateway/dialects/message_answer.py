"""An answer of Anthropic's Messages API: its events, and the message that they come to.

Source: https://docs.claude.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

from typing import Any

import orjson

from sage_common.errors import EngineFailedError, SageError
from sage_gateway.dialects.anthropic_errors import anthropic_error
from sage_gateway.dialects.chat_delta import NO_COUNTS, CallDelta, ChatDelta, TokenCounts
from sage_mesh import exact_json
from sage_mesh.reply import TokenUsage

_STOP_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_FIELD_OF_BLOCK = {"text": "text", "thinking": "thinking", "tool_use": "partial_json"}
_DELTA_OF_BLOCK = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}


class MessageAnswer:
    """Builds one message.

    Args:
        stop_sequences: those of the request.
        shows_thinking: whether the model's reasoning is told.
    """

    def __init__(self, stop_sequences: tuple[str, ...], *, shows_thinking: bool) -> None:
        self._stop_sequences = stop_sequences
        self._shows_thinking = shows_thinking
        self._request_id = ""
        self._message: dict[str, Any] = {}
        self._blocks: list[dict[str, Any]] = []
        # The text of the block that is open, in pieces; for a call the JSON of its input.
        self._pieces: list[str] = []
        self._open = False
        # By the engine's number for a call: the block that it is.
        self._calls: dict[int, int] = {}
        self._finish_reason = ""
        self._matched_stop = ""
        self._refused = False
        self._counts = NO_COUNTS

    def begin(self, request_id: str, model: str) -> bytes:
        """Return ``message_start``. Tokens are counted at the end, so it counts none."""
        self._request_id = request_id
        self._message = {
            "id": f"msg_{request_id.removeprefix('req-')}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": self._blocks,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(NO_COUNTS),
        }
        return _event("message_start", message=self._message)

    def add(self, delta: ChatDelta) -> bytes:
        """Return the events for what the engine has added."""
        events = []
        if delta.reasoning and self._shows_thinking:
            events += self._into("thinking", {"thinking": "", "signature": ""}, delta.reasoning)
        if delta.text or delta.refusal:
            events += self._into("text", {"text": ""}, delta.text + delta.refusal)
        for call in delta.calls:
            events += self._call(call)
        self._refused = self._refused or bool(delta.refusal)
        self._finish_reason = delta.finish_reason or self._finish_reason
        self._matched_stop = delta.matched_stop or self._matched_stop
        self._counts = delta.counts or self._counts
        return b"".join(events)

    def end(self, usage: TokenUsage) -> bytes:
        """Return the events that close the open block and the message."""
        events = self._close()
        if self._counts is NO_COUNTS:
            self._counts = TokenCounts(usage)
        reason, sequence = self._stop()
        counted = _usage(self._counts)
        self._message |= {"stop_reason": reason, "stop_sequence": sequence, "usage": counted}
        events.append(_event("message_delta", delta={"stop_reason": reason, "stop_sequence": sequence}, usage=counted))
        events.append(_event("message_stop"))
        return b"".join(events)

    def failed(self, error: SageError) -> bytes:
        """Return the event ``error``."""
        return b"event: error\ndata: " + anthropic_error(error, self._request_id)[1] + b"\n\n"

    def document(self) -> bytes:
        """Return the message.

        The input of a call that was cut by ``max_tokens`` is empty.

        Raises:
            EngineFailedError: the input of another call is no JSON object.
        """
        blocks = [
            {**block, "input": self._input(block)} if block["type"] == "tool_use" else block for block in self._blocks
        ]
        return exact_json.write({**self._message, "content": blocks})

    def _into(self, kind: str, empty: dict[str, Any], text: str) -> list[bytes]:
        events: list[bytes] = []
        if not self._open or self._blocks[-1]["type"] != kind:
            events = self._start({"type": kind, **empty})
        self._pieces.append(text)
        events.append(self._delta(kind, text))
        return events

    def _call(self, call: CallDelta) -> list[bytes]:
        events: list[bytes] = []
        place = self._calls.get(call.index)
        if place is None:
            name = call.name
            call_id = call.id or f"toolu_{self._request_id.removeprefix('req-')}_{call.index}"
            events = self._start({"type": "tool_use", "id": call_id, "name": name, "input": {}})
            self._calls[call.index] = len(self._blocks) - 1
        elif place != len(self._blocks) - 1 or not self._open:
            raise EngineFailedError("the engine went on with a tool call after it had begun something else")
        if call.arguments:
            self._pieces.append(call.arguments)
            events.append(self._delta("tool_use", call.arguments))
        return events

    def _start(self, block: dict[str, Any]) -> list[bytes]:
        events = self._close()
        # Sent before anything is in it.
        events.append(_event("content_block_start", index=len(self._blocks), content_block=block))
        self._blocks.append(block)
        self._open = True
        return events

    def _delta(self, kind: str, text: str) -> bytes:
        said = {"type": _DELTA_OF_BLOCK[kind], _FIELD_OF_BLOCK[kind]: text}
        return _event("content_block_delta", index=len(self._blocks) - 1, delta=said)

    def _close(self) -> list[bytes]:
        if not self._open:
            return []
        block = self._blocks[-1]
        text = "".join(self._pieces)
        # The input of a call stays text until the document needs it.
        block["input" if block["type"] == "tool_use" else block["type"]] = text
        self._pieces = []
        self._open = False
        return [_event("content_block_stop", index=len(self._blocks) - 1)]

    def _input(self, block: dict[str, Any]) -> dict[str, Any]:
        text = block["input"] or "{}"
        try:
            value = exact_json.read(text.encode())
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        if self._message["stop_reason"] == "max_tokens" and block is self._blocks[-1]:
            return {}
        raise EngineFailedError(
            f"the model called {block['name']!r} with what is no JSON object: {text[:80]!r}", code="invalid_tool_input"
        )

    def _stop(self) -> tuple[str, str | None]:
        if self._refused:
            return "refusal", None
        if self._matched_stop in self._stop_sequences:
            return "stop_sequence", self._matched_stop
        # Some engines end with "stop" after a call, too.
        if self._calls and self._finish_reason in ("", "stop"):
            return "tool_use", None
        return _STOP_REASONS.get(self._finish_reason, "end_turn"), None


def _usage(counts: TokenCounts) -> dict[str, Any]:
    usage = counts.usage
    counted: dict[str, Any] = {
        "input_tokens": max(0, usage.prompt_tokens - usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if counts.reasoning:
        counted["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    return counted


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"
