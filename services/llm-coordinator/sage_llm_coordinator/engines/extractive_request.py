"""What the extractive engine reads in a body, and the fields that it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body import read_body
from sage_control_plane.request.request import Endpoint
from sage_libs.extractive import ParsedPrompt, parse_rag_prompt
from sage_libs.prompts import message_text, parse_messages

# Fields that ask for what no extractive engine can do, and the values that ask for nothing.
_REFUSED: dict[str, tuple[object, ...]] = {
    "tools": (None, []),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "web_search_options": (None,),
    "moderation": (None,),
    "tool_choice": (None, "none", "auto"),
    "function_call": (None, "none", "auto"),
    "use_beam_search": (None, False),
    "prompt_logprobs": (None,),
    "guided_json": (None,),
    "guided_regex": (None,),
    "guided_choice": (None,),
    "guided_grammar": (None,),
    "structured_outputs": (None,),
}


@dataclass(frozen=True, slots=True)
class ExtractiveRequest:
    """A request as the extractive engine understands it.

    Attributes:
        prompt: question and passages.
        segments: the whole conversation, for counting its tokens.
        answer_prefix: start of the answer, which the request brings along to be continued.
        numbered: whether the passages have numbers that an answer can name.
        stop: strings that end the answer.
    """

    prompt: ParsedPrompt
    segments: tuple[str, ...]
    numbered: bool
    streaming: bool
    include_usage: bool
    max_tokens: int | None
    stop: tuple[str, ...]
    answer_prefix: str = ""


def read_request(endpoint: Endpoint, body: bytes) -> ExtractiveRequest:
    """Read a body.

    Raises:
        InvalidRequestError: malformed, or it asks for something that extraction cannot do.
    """
    content = read_body(endpoint, body, strict=True)
    value: dict[str, Any] = orjson.loads(body)
    for field, harmless in _REFUSED.items():
        if value.get(field) not in harmless:
            raise InvalidRequestError(
                f"model 'sage-extractive' quotes sentences from the prompt and does not generate, so it cannot honour "
                f"{field!r}; leave it out, or use a generating model (`sage up --llm MODEL`)",
                code="unsupported_parameter",
                param=field,
            )
    messages = value["messages"] if endpoint is Endpoint.CHAT_COMPLETIONS else _as_messages(value["prompt"])
    segments, prefix = content.segments, ""
    if value.get("continue_final_message") and len(messages) > 1 and messages[-1].get("role") == "assistant":
        *messages, last = messages
        prefix = message_text(last)
        segments = read_body(endpoint, orjson.dumps({**value, "messages": messages})).segments
    options = value.get("stream_options") or {}
    return ExtractiveRequest(
        prompt=parse_rag_prompt(messages),
        segments=segments,
        numbered=parse_messages(messages) is not None,
        streaming=content.streaming,
        include_usage=bool(options.get("include_usage")) if isinstance(options, dict) else False,
        max_tokens=content.max_tokens,
        stop=_stops(value.get("stop")),
        answer_prefix=prefix,
    )


def _as_messages(prompt: str | list[Any]) -> list[Mapping[str, object]]:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise InvalidRequestError(
            "model 'sage-extractive' takes one prompt of text; token ids and lists of prompts need a generating model",
            code="unsupported_parameter",
            param="prompt",
        )
    return [{"role": "user", "content": prompt}]


def _stops(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise InvalidRequestError("'stop' must be a string or a list of strings", code="invalid_type", param="stop")
    return tuple(stop for stop in stops if stop)
