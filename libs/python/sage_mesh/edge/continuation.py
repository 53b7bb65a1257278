"""Continuing a stream that broke off: what another engine is asked for, and how its stream joins the first. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from sage_control_plane.request.request import Endpoint
from sage_mesh.edge.partial_answer import IDENTITY, NotResumableError, PartialAnswer
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import DONE, DONE_EVENT, SseParser

# Limits that count from the answer's first token.
_TOKEN_LIMITS = ("max_completion_tokens", "max_tokens", "min_tokens")


class StreamContinuation:
    """Rewrites the whole events of a continuation so that its consumer sees one unbroken stream.

    Every chunk gets the identity of the first stream's first chunk, the role is sent once, and usage is that of the
    whole answer: the prompt of the continuing engine holds what was delivered, so those tokens move from the prompt to
    the completion.

    Args:
        delivered: what the consumer has.
        only_usage: whether the text is complete; nothing but the usage and the end pass.
    """

    def __init__(self, delivered: PartialAnswer, *, only_usage: bool = False) -> None:
        self._delivered = delivered
        self._only_usage = only_usage
        self._parser = SseParser()

    def take(self, events: bytes) -> bytes:
        """Rewrite whole events; some of them vanish."""
        return b"".join(self._rewrite(event.data) for event in self._parser.feed(events))

    def restarted(self) -> StreamContinuation:
        """Return a continuation of the same answer, for another attempt at it."""
        return StreamContinuation(self._delivered, only_usage=self._only_usage)

    def usage(self, usage: TokenUsage) -> TokenUsage:
        """Return the whole answer's usage from the continuation's; zeros, where an engine counts none, stay."""
        if not usage.prompt_tokens:
            return usage
        delivered = self._delivered
        prompt = max(0, usage.prompt_tokens - (delivered.tokens - delivered.end_tokens))
        return replace(
            usage,
            prompt_tokens=prompt,
            completion_tokens=delivered.tokens + (0 if self._only_usage else usage.completion_tokens),
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
            # An engine's error, say: it is the consumer's to read, as it would be in a stream of one engine.
            return b"data: " + data.replace("\n", "\ndata: ").encode() + b"\n\n"
        identity = self._delivered.identity
        if identity:
            for name in IDENTITY:
                if name in identity:
                    chunk[name] = identity[name]
                else:
                    chunk.pop(name, None)
        self._correct_usage(chunk)
        return b"data: " + orjson.dumps(chunk) + b"\n\n" if self._has_content(chunk) else b""

    def _correct_usage(self, chunk: dict[str, Any]) -> None:
        counted = chunk.get("usage")
        if not isinstance(counted, dict):
            return
        whole = self.usage(read_usage(counted) or TokenUsage())
        counted["prompt_tokens"] = whole.prompt_tokens
        counted["completion_tokens"] = whole.completion_tokens
        counted["total_tokens"] = whole.prompt_tokens + whole.completion_tokens
        details = counted.get("prompt_tokens_details")
        if isinstance(details, dict) and details.get("cached_tokens"):
            details["cached_tokens"] = whole.cached_tokens

    def _has_content(self, chunk: dict[str, Any]) -> bool:
        choices = chunk["choices"]
        if not choices:
            return True
        if self._only_usage:
            return False
        choice = choices[0]
        delta = choice.get("delta")
        if not isinstance(delta, dict) or "role" not in delta or not self._delivered.role:
            return True
        # The role was delivered; what is left of its chunk is often nothing.
        del delta["role"]
        return bool(any(delta.values()) or choice.get("finish_reason"))


@dataclass(frozen=True, slots=True)
class ContinuationPlan:
    """How a broken stream goes on.

    Attributes:
        events: what the consumer gets at once.
        body: what to ask an engine for; None where nothing is missing any more.
        continuation: joins that engine's stream to what was delivered.
        complete: whether the text is complete; nothing but its end or its usage is missing.
    """

    events: bytes
    body: bytes | None
    continuation: StreamContinuation
    complete: bool = True


def plan_continuation(endpoint: Endpoint, body: bytes, delivered: PartialAnswer) -> ContinuationPlan:
    """Plan how the answer to ``body`` goes on after ``delivered``.

    For a chat the text so far becomes the last message, to be continued (``continue_final_message``, as vLLM, SGLang
    and the extractive engine know it); for a completion it is added to the prompt. Where the text is complete and only
    its usage is missing, an engine is asked for one more token: its prompt's length is what is wanted.

    Args:
        body: as the caller sent it, accepted by the classifier.

    Raises:
        NotResumableError: the prompt cannot take the text up.
    """
    if delivered.done:
        return ContinuationPlan(b"", None, StreamContinuation(delivered))
    fields: dict[str, Any] = orjson.loads(body)
    limit = _limit(fields)
    complete = bool(delivered.finish_reason) or (limit is not None and delivered.tokens >= limit)
    if not complete:
        for name in _TOKEN_LIMITS:
            if isinstance(fields.get(name), int):
                fields[name] = max(0, fields[name] - delivered.tokens)
        _add_text(endpoint, fields, delivered.text)
        return ContinuationPlan(b"", orjson.dumps(fields), StreamContinuation(delivered), complete=False)
    events = b"" if delivered.finish_reason else _finish(endpoint, delivered)
    if delivered.usage_closed or not _wants_usage(fields):
        return ContinuationPlan(events + DONE_EVENT, None, StreamContinuation(delivered))
    for name in _TOKEN_LIMITS:
        fields.pop(name, None)
    fields["max_tokens"] = 1
    _add_text(endpoint, fields, delivered.text)
    return ContinuationPlan(events, orjson.dumps(fields), StreamContinuation(delivered, only_usage=True))


def _limit(fields: dict[str, Any]) -> int | None:
    limit = fields.get("max_completion_tokens")
    limit = fields.get("max_tokens") if limit is None else limit
    return limit if isinstance(limit, int) else None


def _wants_usage(fields: dict[str, Any]) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _add_text(endpoint: Endpoint, fields: dict[str, Any], text: str) -> None:
    if not text:
        return
    if endpoint is Endpoint.COMPLETIONS:
        fields["prompt"] = _longer_prompt(fields["prompt"], text)
        return
    *before, last = fields["messages"]
    if fields.get("continue_final_message"):
        # The caller began the answer; it goes on in the same message.
        fields["messages"] = [*before, {**last, "content": _longer_content(last.get("content"), text)}]
        return
    fields["messages"] = [*before, last, {"role": "assistant", "content": text}]
    fields["continue_final_message"] = True
    fields["add_generation_prompt"] = False


def _longer_prompt(prompt: object, text: str) -> object:
    if isinstance(prompt, str):
        return prompt + text
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        return [prompt[0] + text]
    raise NotResumableError("the prompt is several, or token ids, to which text cannot be added")


def _longer_content(content: object, text: str) -> object:
    if content is None or isinstance(content, str):
        return (content or "") + text
    if isinstance(content, list):
        return [*content, {"type": "text", "text": text}]
    raise NotResumableError("the message to continue has no text")


def _finish(endpoint: Endpoint, delivered: PartialAnswer) -> bytes:
    content: dict[str, Any] = {"text": ""} if endpoint is Endpoint.COMPLETIONS else {"delta": {}}
    choice = {"index": 0, **content, "logprobs": None, "finish_reason": "length"}
    return b"data: " + orjson.dumps({**delivered.identity, "choices": [choice]}) + b"\n\n"
