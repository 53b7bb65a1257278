"""Reading chat completions: what a chunk of a stream adds, and a whole document as one such addition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from sage_client.error_body import error_from_object
from sage_common.errors import EngineFailedError
from sage_mesh import exact_json
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import NO_USAGE, Media, TokenUsage
from sage_mesh.sse import DONE, SseParser

# A model's reasoning has either name: the first in DeepSeek's API, llama.cpp and SGLang, the second in vLLM.
_REASONING = ("reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A part of a tool call.

    Attributes:
        index: which call of the answer it belongs to.
        id, name: whole, in the call's first part; empty in the others.
        arguments: the next piece of the JSON text, or of a custom tool's input.
        custom: whether the tool is one that takes free text.
    """

    index: int
    id: str
    name: str
    arguments: str
    custom: bool = False


class TokenCounts(NamedTuple):
    """The engine's counts; ``reasoning`` of the completion's tokens were spent on reasoning."""

    usage: TokenUsage
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """What an engine has added to its answer.

    Attributes:
        model: the name by which the engine reports its model; empty where it does not.
        finish_reason: why generation ended; empty until it has.
        matched_stop: the stop sequence that ended it, where the engine names it, as vLLM does.
        logprobs: of the tokens of ``text``, as chat completions have them.
    """

    model: str = ""
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[CallDelta, ...] = ()
    finish_reason: str = ""
    matched_stop: str = ""
    counts: TokenCounts | None = None
    logprobs: tuple[dict[str, Any], ...] = ()


class ChatReader:
    """Reads an answer of either media as it arrives."""

    def __init__(self) -> None:
        self._parser = SseParser()

    def feed(self, media: Media, piece: bytes) -> list[ChatDelta]:
        """Take bytes: whole events of a stream, or a whole document.

        Raises:
            SageError: the engine's own error, sent as an event.
            EngineFailedError: what it sent is no answer.
        """
        if media is not Media.EVENT_STREAM:
            return [_read(_object(piece), "message")]
        events = self._parser.feed(piece)
        return [_read(_object(event.data.encode()), "delta") for event in events if event.data != DONE]


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        shown = data[:80].decode("utf-8", "replace")
        raise EngineFailedError(f"the engine sent what is no chat completion: {shown!r}")
    if value.get("error"):
        error = value["error"]
        raise error_from_object(error if isinstance(error, dict) else {"message": str(error)})
    return value


def _read(value: dict[str, Any], part: str) -> ChatDelta:
    usage = read_usage(value.get("usage"))
    counts = None if usage is None else TokenCounts(usage, _reasoning_tokens(value["usage"]))
    model = value.get("model") or ""
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices:
        return ChatDelta(model, counts=counts)
    choice = choices[0]
    said = choice.get(part) or {}
    logprobs = choice.get("logprobs") or {}
    stop = choice.get("stop_reason")
    return ChatDelta(
        model,
        text=_text(said.get("content")),
        reasoning=next((_text(said[name]) for name in _REASONING if said.get(name)), ""),
        refusal=_text(said.get("refusal")),
        calls=tuple(_call(call, number) for number, call in enumerate(said.get("tool_calls") or ())),
        finish_reason=choice.get("finish_reason") or "",
        matched_stop=stop if isinstance(stop, str) else "",
        counts=counts,
        logprobs=tuple(logprobs.get("content") or ()),
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    # Some engines answer in parts.
    parts = content if isinstance(content, list) else ()
    return "".join(part.get("text") or "" for part in parts if isinstance(part, dict))


def _call(call: dict[str, Any], number: int) -> CallDelta:
    custom = "custom" in call
    tool = call.get("custom" if custom else "function") or {}
    arguments = tool.get("input" if custom else "arguments")
    if isinstance(arguments, dict):
        # Ollama gives an object.
        arguments = exact_json.write(arguments).decode()
    index = call.get("index")
    index = index if isinstance(index, int) else number
    return CallDelta(index, call.get("id") or "", tool.get("name") or "", arguments or "", custom)


def _reasoning_tokens(usage: dict[str, Any]) -> int:
    details = usage.get("completion_tokens_details")
    count = details.get("reasoning_tokens") if isinstance(details, dict) else 0
    return count if isinstance(count, int) else 0


NO_COUNTS = TokenCounts(NO_USAGE)
