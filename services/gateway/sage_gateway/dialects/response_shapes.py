"""Bodies and answers of OpenAI's Responses API, as far as they are read or made here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

Metadata = dict[str, Any]
_STRICT = ConfigDict(extra="forbid")


class StreamOptions(TypedDict, total=False):
    """How to stream."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    include_obfuscation: Literal[False] | None


class TextOptions(TypedDict, total=False):
    """How the answer is written."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    verbosity: str | None
    format: dict[str, Any] | None


class ReasoningOptions(TypedDict, total=False):
    """How to reason; reasoning is told as it is."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    effort: str | None
    summary: Literal["auto"] | None
    generate_summary: Literal["auto"] | None
    context: Literal["auto", "all_turns"] | None
    mode: Literal["standard"] | None


class CountedResponseBody(TypedDict, total=False):
    """Body of ``POST /v1/responses/input_tokens``."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    model: str | None
    input: str | list[dict[str, Any]]
    instructions: str | None
    previous_response_id: str | None
    tools: list[dict[str, Any]] | None
    tool_choice: str | dict[str, Any] | None
    text: TextOptions | None
    reasoning: ReasoningOptions | None
    truncation: Literal["disabled"] | None
    store: bool | None
    background: bool | None
    stream: bool | None
    stream_options: StreamOptions | None
    max_output_tokens: Annotated[int | None, Field(ge=1)]
    max_tool_calls: Annotated[int | None, Field(ge=0)]
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None
    top_logprobs: Annotated[int | None, Field(ge=0)]
    metadata: Metadata | None


class ResponseBody(CountedResponseBody):
    """Body of ``POST /v1/responses``."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]


class ResponseDocument(TypedDict):
    """A response; beside these it says again what was asked for."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: NotRequired[int]
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None


class ResponseEvent(TypedDict):
    """An event of a response; its last one holds the whole response."""

    type: str
    sequence_number: int


class CountedInput(TypedDict):
    """How many tokens an input has, by the estimate that requests are scheduled by."""

    object: Literal["response.input_tokens"]
    input_tokens: int
