"""Bodies and answers of Anthropic's Messages API, as far as they are read or made here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

_STRICT = ConfigDict(extra="forbid")


class MessageParam(TypedDict):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class MessageMetadata(TypedDict, total=False):
    """Who it is for."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    user_id: str | None


class ThinkingOptions(TypedDict, total=False):
    """How to think."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Literal["enabled", "adaptive", "between_tools", "disabled"] | None
    budget_tokens: Annotated[int | None, Field(ge=0)]
    display: Literal["summarized", "omitted"] | None


class OutputOptions(TypedDict, total=False):
    """What the answer is to be like."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    effort: str | None
    format: dict[str, Any] | None


class CountedMessageBody(TypedDict):
    """Body of ``POST /v1/messages/count_tokens``."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    model: str
    messages: list[MessageParam]
    system: NotRequired[str | list[dict[str, Any]] | None]
    tools: NotRequired[list[dict[str, Any]] | None]
    tool_choice: NotRequired[dict[str, Any] | None]
    thinking: NotRequired[ThinkingOptions | None]
    output_config: NotRequired[OutputOptions | None]
    cache_control: NotRequired[Any]
    stream: NotRequired[bool | None]
    stop_sequences: NotRequired[list[str] | None]
    metadata: NotRequired[MessageMetadata | None]
    service_tier: NotRequired[Literal["auto", "standard_only"] | None]
    speed: NotRequired[Literal["standard"] | None]
    max_tokens: NotRequired[Annotated[int | None, Field(ge=1)]]


class MessageBody(CountedMessageBody):
    """Body of ``POST /v1/messages``."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    max_tokens: Annotated[int, Field(ge=1)]  # type: ignore[misc]


class MessageUsage(TypedDict):
    """Tokens that a message took."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class Message(TypedDict):
    """A message of the model."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage


class MessageEvent(TypedDict):
    """An event of a message."""

    type: str


class CountedMessage(TypedDict):
    """How many tokens a conversation has, by the estimate that requests are scheduled by."""

    input_tokens: int
