"""Shapes that the answers of several operations share, and those of errors."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from typing_extensions import NotRequired, TypedDict

T = TypeVar("T")


class Listed(TypedDict, Generic[T]):
    """A whole list."""

    object: Literal["list"]
    data: list[T]


class ListedOf(Listed[T], Generic[T]):
    """A part of a list, and how many there are in all."""

    total: int


class Paged(Listed[T], Generic[T]):
    """A page of a list, as OpenAI writes it."""

    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(TypedDict):
    """What was deleted."""

    id: str
    object: str
    deleted: Literal[True]


class ErrorText(TypedDict):
    """What happened. An engine's own refusal has the engine's words, and may have further fields."""

    message: str
    type: NotRequired[str | None]
    param: NotRequired[str | None]
    code: NotRequired[str | int | None]


class ErrorAnswer(TypedDict):
    """An error in OpenAI's shape."""

    error: ErrorText


class AnthropicErrorDetails(TypedDict):
    """SAGE's own code."""

    error_code: str


class AnthropicErrorText(TypedDict):
    """What happened."""

    type: str
    message: str
    details: AnthropicErrorDetails


class AnthropicErrorAnswer(TypedDict):
    """An error in Anthropic's shape."""

    type: Literal["error"]
    error: AnthropicErrorText
    request_id: str
