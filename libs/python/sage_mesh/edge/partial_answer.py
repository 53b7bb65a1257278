"""What the consumer of a stream has so far, read from its events. Read once, when its engine has died."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from sage_control_plane.request.features import request_features
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import DONE, SseParser

# Fields of a chunk that say which answer it belongs to; a client must see no other values later on.
IDENTITY = ("id", "created", "model", "system_fingerprint")
# What else a delta may say without there being more to the answer than its text.
_PLAIN_DELTA = ("role", "content")
# What the estimator adds for a chat template's marks; a piece of text has none.
_SEGMENT_TOKENS = 2


class NotResumableError(Exception):
    """The answer cannot be continued by another engine; the message says why."""


@dataclass(slots=True)
class PartialAnswer:
    """An answer so far.

    Attributes:
        identity: the identifying fields of its first chunk, and ``object``.
        text: all of it.
        tokens: how many tokens the text is: what the engine counted last, or one for each chunk, as engines send them.
            A chunk of several words is several tokens that an engine under load has sent together; those are
            estimated.
        end_tokens: how many of the tokens no text stands for, at the end: the one that ended the sequence.
        role: whether a chunk has named the role.
        finish_reason: why generation ended; empty until it has.
        usage: what the engine counted last; None where it did not.
        usage_closed: whether the usage event at a stream's end was delivered.
        done: whether ``[DONE]`` was.
    """

    identity: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    tokens: int = 0
    end_tokens: int = 0
    role: bool = False
    finish_reason: str = ""
    usage: TokenUsage | None = None
    usage_closed: bool = False
    done: bool = False


def read_partial_answer(events: bytes) -> PartialAnswer:
    """Read the events of a ``chat.completion.chunk`` or ``text_completion`` stream.

    Raises:
        NotResumableError: they hold something besides one plain text.
    """
    answer = PartialAnswer()
    texts: list[str] = []
    for event in SseParser().feed(events):
        if event.data == DONE:
            answer.done = True
            continue
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            raise NotResumableError("an event is not JSON") from None
        if not isinstance(chunk, dict) or chunk.get("error"):
            raise NotResumableError("an event is an error or no object")
        _take_chunk(answer, chunk, texts)
    answer.text = "".join(texts)
    if answer.usage is not None and answer.usage.completion_tokens:
        answer.tokens = answer.usage.completion_tokens
    return answer


def _take_chunk(answer: PartialAnswer, chunk: dict[str, Any], texts: list[str]) -> None:
    if not answer.identity:
        answer.identity = {name: chunk[name] for name in (*IDENTITY, "object") if name in chunk}
    usage = read_usage(chunk.get("usage"))
    if usage is not None:
        answer.usage = usage
    choices = chunk.get("choices")
    if not choices:
        answer.usage_closed = answer.usage_closed or usage is not None
        return
    choice = choices[0]
    if len(choices) > 1 or choice.get("index") or choice.get("logprobs"):
        raise NotResumableError("it has several choices, or log probabilities")
    delta = choice.get("delta") or {}
    for name, value in delta.items():
        if value and name not in _PLAIN_DELTA:
            raise NotResumableError(f"a delta has {name!r}, which no prompt can carry")
    text = delta.get("content") if "delta" in choice else choice.get("text")
    if text is not None:
        if not isinstance(text, str):
            raise NotResumableError("a text is no string")
        texts.append(text)
        if text or "role" not in delta:
            answer.tokens += piece_tokens(text)
            answer.end_tokens = int(not text and bool(choice.get("finish_reason")))
    answer.role = answer.role or "role" in delta
    answer.finish_reason = choice.get("finish_reason") or answer.finish_reason


def piece_tokens(text: str) -> int:
    """Return how many tokens one piece of a stream is: one, as engines send them, or an estimate for several words."""
    if len(text.split()) < 2:
        return 1
    return max(1, request_features([text])[0] - _SEGMENT_TOKENS)
