"""Joining the stream of the engine that continues an answer to what the client was told before."""

from __future__ import annotations

from typing import Any

import orjson

from sage_mesh.partial_answer import IDENTITY, PartialAnswer
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import DONE, SseParser

DONE_EVENT = b"data: [DONE]\n\n"


class StreamContinuation:
    """Rewrites the whole events of a continuation so that the client sees one unbroken stream.

    Every chunk gets the identity of the first stream's first chunk, the role is told once, and usage is that of the
    whole answer: the engine's prompt held what was told before, so those tokens move from prompt to completion.

    Args:
        told: what the client has.
        only_usage: the text was complete; nothing but the usage and the end pass.
    """

    def __init__(self, told: PartialAnswer, *, only_usage: bool = False) -> None:
        self._told = told
        self._only_usage = only_usage
        self._parser = SseParser()

    def take(self, events: bytes) -> bytes:
        """Rewrite whole events; some of them vanish."""
        return b"".join(self._rewrite(event.data) for event in self._parser.feed(events))

    def anew(self) -> StreamContinuation:
        """A splice at the same place, for another try at the continuation."""
        return StreamContinuation(self._told, only_usage=self._only_usage)

    def usage(self, usage: TokenUsage) -> TokenUsage:
        """The whole answer's usage from the continuation's; zeros, where an engine tells none, stay."""
        if not usage.prompt_tokens:
            return usage
        in_prompt = self._told.tokens - self._told.end_tokens
        prompt = max(0, usage.prompt_tokens - in_prompt)
        return TokenUsage(
            prompt_tokens=prompt,
            completion_tokens=self._told.tokens + (0 if self._only_usage else usage.completion_tokens),
            cached_tokens=min(prompt, usage.cached_tokens),
        )

    def _rewrite(self, data: str) -> bytes:
        if data == DONE:
            return DONE_EVENT
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            chunk = None
        if not isinstance(chunk, dict) or "choices" not in chunk:
            # An engine's error, say: it is the client's to read, as it would be in a stream of one engine.
            return b"data: " + data.replace("\n", "\ndata: ").encode() + b"\n\n"
        identity = self._told.identity
        if identity:
            for name in IDENTITY:
                if name in identity:
                    chunk[name] = identity[name]
                else:
                    chunk.pop(name, None)
        self._correct_usage(chunk)
        return b"data: " + orjson.dumps(chunk) + b"\n\n" if self._says_something(chunk) else b""

    def _correct_usage(self, chunk: dict[str, Any]) -> None:
        told = chunk.get("usage")
        if not isinstance(told, dict):
            return
        prompt, completion = told.get("prompt_tokens") or 0, told.get("completion_tokens") or 0
        whole = self.usage(TokenUsage(prompt, completion))
        told["prompt_tokens"] = whole.prompt_tokens
        told["completion_tokens"] = whole.completion_tokens
        told["total_tokens"] = whole.prompt_tokens + whole.completion_tokens

    def _says_something(self, chunk: dict[str, Any]) -> bool:
        choices = chunk["choices"]
        if not choices:
            return True
        if self._only_usage:
            return False
        choice = choices[0]
        delta = choice.get("delta")
        if not isinstance(delta, dict) or "role" not in delta or not self._told.role:
            return True
        # The role was told already; what is left of its chunk is often nothing.
        del delta["role"]
        return bool(any(delta.values()) or choice.get("finish_reason"))
