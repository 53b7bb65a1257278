"""What to ask another engine for when a stream broke off, so that it goes on where the client stopped reading. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from sage_control_plane.request.request import Endpoint
from sage_mesh.edge.partial_answer import IDENTITY, NotResumableError, PartialAnswer
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import DONE, DONE_EVENT, SseParser, read_usage

# Limits that count from the answer's first token.
_TOKEN_LIMITS = ("max_completion_tokens", "max_tokens", "min_tokens")


@dataclass(frozen=True, slots=True)
class Continuation:
    """How a broken stream goes on.

    Attributes:
        events: what the client is given at once.
        body: what to ask an engine for; empty where nothing is missing any more.
        splice: joins that engine's stream to what was told.
    """

    events: bytes
    body: bytes
    splice: StreamContinuation


def continuation(endpoint: Endpoint, body: bytes, told: PartialAnswer) -> Continuation:
    """Plan how the answer to ``body`` goes on after ``told``.

    For a chat the text so far becomes the last message, to be continued (``continue_final_message``, as vLLM, SGLang
    and the extractive engine know it); for a completion it is added to the prompt. Where the text is complete and only
    its usage is missing, an engine is asked for one more token: its prompt's length is what is wanted.

    Args:
        body: as the caller sent it, accepted by the classifier.

    Raises:
        NotResumableError: the prompt cannot take the text up.
    """
    if told.done:
        return Continuation(b"", b"", StreamContinuation(told))
    request: dict[str, Any] = orjson.loads(body)
    limit = _limit(request)
    complete = bool(told.finish_reason) or (limit is not None and told.tokens >= limit)
    if not complete:
        for name in _TOKEN_LIMITS:
            if isinstance(request.get(name), int):
                request[name] = max(0, request[name] - told.tokens)
        _take_up(endpoint, request, told.text)
        return Continuation(b"", orjson.dumps(request), StreamContinuation(told))
    events = b"" if told.finish_reason else _finish(endpoint, told)
    if told.usage_closed or not _wants_usage(request):
        return Continuation(events + DONE_EVENT, b"", StreamContinuation(told))
    for name in _TOKEN_LIMITS:
        request.pop(name, None)
    request["max_tokens"] = 1
    _take_up(endpoint, request, told.text)
    return Continuation(events, orjson.dumps(request), StreamContinuation(told, only_usage=True))


def _limit(request: dict[str, Any]) -> int | None:
    limit = request.get("max_completion_tokens")
    limit = request.get("max_tokens") if limit is None else limit
    return limit if isinstance(limit, int) else None


def _wants_usage(request: dict[str, Any]) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _take_up(endpoint: Endpoint, request: dict[str, Any], text: str) -> None:
    if not text:
        return
    if endpoint is Endpoint.COMPLETIONS:
        request["prompt"] = _longer_prompt(request["prompt"], text)
        return
    *before, last = request["messages"]
    if request.get("continue_final_message"):
        # The caller began the answer; it goes on in the same message.
        request["messages"] = [*before, {**last, "content": _longer_content(last.get("content"), text)}]
        return
    request["messages"] = [*before, last, {"role": "assistant", "content": text}]
    request["continue_final_message"] = True
    request["add_generation_prompt"] = False


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


def _finish(endpoint: Endpoint, told: PartialAnswer) -> bytes:
    content: dict[str, Any] = {"text": ""} if endpoint is Endpoint.COMPLETIONS else {"delta": {}}
    choice = {"index": 0, **content, "logprobs": None, "finish_reason": "length"}
    return b"data: " + orjson.dumps({**told.identity, "choices": [choice]}) + b"\n\n"


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
        return replace(
            usage,
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
        whole = self.usage(read_usage(told) or TokenUsage())
        told["prompt_tokens"] = whole.prompt_tokens
        told["completion_tokens"] = whole.completion_tokens
        told["total_tokens"] = whole.prompt_tokens + whole.completion_tokens
        details = told.get("prompt_tokens_details")
        if isinstance(details, dict) and details.get("cached_tokens"):
            details["cached_tokens"] = whole.cached_tokens

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
