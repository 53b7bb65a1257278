"""A batch as OpenAI's API shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict


@dataclass(frozen=True, slots=True)
class BatchError:
    """Why a batch failed; ``line`` is that of the file, from 1, where one is at fault."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(TypedDict):
    """All that is wrong with a batch."""

    object: Literal["list"]
    data: list[BatchError]


class RequestCounts(TypedDict):
    """Lines of a batch."""

    total: int
    completed: int
    failed: int


class CachedTokens(TypedDict):
    """Those of the prompts that engines had in their caches."""

    cached_tokens: int


class ReasoningTokens(TypedDict):
    """Not counted apart."""

    reasoning_tokens: int


class BatchUsage(TypedDict):
    """Tokens that the answered lines took."""

    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class BatchDocument(TypedDict):
    """OpenAI's batch object. Times are seconds since 1970-01-01 UTC; None for what has not happened."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None
