"""The answers of an OpenAI-compatible engine: reading the text in a streamed chunk, reading and writing the usage."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from sage_common.errors import EngineFailedError
from sage_mesh.reply import TokenUsage


class TextDelta(NamedTuple):
    """What one event of a streamed answer adds.

    Attributes:
        text: text since the last piece.
        finish_reason: why generation ended; empty until it has.
        usage: token counts, on the event that has them.
    """

    text: str
    finish_reason: str = ""
    usage: TokenUsage | None = None


def read_delta(data: str) -> TextDelta:
    """Read the data of one event: a ``chat.completion.chunk`` or ``text_completion`` object.

    Raises:
        EngineFailedError: not such an object, or the engine's own error event.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise EngineFailedError(f"the engine sent an event that is not JSON: {data[:80]!r}") from None
    if not isinstance(value, dict):
        raise EngineFailedError(f"the engine sent an event that is not an object: {data[:80]!r}")
    error = value.get("error")
    if error:
        message = error.get("message") if isinstance(error, dict) else error
        raise EngineFailedError(f"the engine ended the answer with an error: {message}")
    choices = value.get("choices") or [{}]
    choice = choices[0]
    delta = choice.get("delta") or {}
    return TextDelta(
        text=delta.get("content") or choice.get("text") or "",
        finish_reason=choice.get("finish_reason") or "",
        usage=read_usage(value.get("usage")),
    )


def read_usage(usage: object) -> TokenUsage | None:
    """Read an OpenAI ``usage`` object; None where there is none."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return TokenUsage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(cached),
    )


def usage_object(usage: TokenUsage, *, generates: bool = True) -> dict[str, int]:
    """Return an OpenAI ``usage`` object; without the generated tokens where the work generates none."""
    generated = {"completion_tokens": usage.completion_tokens} if generates else {}
    total = usage.prompt_tokens + usage.completion_tokens
    return {"prompt_tokens": usage.prompt_tokens, **generated, "total_tokens": total}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
