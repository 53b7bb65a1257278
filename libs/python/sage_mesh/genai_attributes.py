"""What spans say of requests, in OpenTelemetry's conventions for generative AI. Never a prompt or an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sage_control_plane.request.request import Attempt, Endpoint
from sage_mesh.reply import TokenUsage

Attributes = dict[str, str | bool | int | float]

REQUEST_ID: Final = "sage.request_id"
FIRST_TOKEN: Final = "first_token"
_OPERATIONS: Final[Mapping[Endpoint, str]] = {
    Endpoint.CHAT_COMPLETIONS: "chat",
    Endpoint.COMPLETIONS: "text_completion",
    Endpoint.EMBEDDINGS: "embeddings",
    # The conventions have no word for it.
    Endpoint.RERANK: "rerank",
}


def operation_of(endpoint: int) -> str:
    """Return the conventions' name of an endpoint's operation, by the number on the wire."""
    try:
        return _OPERATIONS[Endpoint(endpoint)]
    except ValueError:
        return "unknown"


def request_attributes(request_id: str, correlation_id: str, tenant: str, endpoint: int) -> Attributes:
    """Return what is known of a request before its body is read."""
    attributes: Attributes = {
        REQUEST_ID: request_id,
        "sage.tenant": tenant,
        "gen_ai.operation.name": operation_of(endpoint),
    }
    if correlation_id:
        attributes["sage.correlation_id"] = correlation_id
    return attributes


def attempt_attributes(attempt: Attempt, engine_id: str, tries: int) -> Attributes:
    """Return which attempt at a request a span is about, and where."""
    return {
        "sage.engine": engine_id,
        "sage.submission": attempt.submission,
        "sage.dispatch": attempt.dispatch & 0xFFFFFFFF,
        "sage.tries": tries,
    }


def usage_attributes(usage: TokenUsage) -> Attributes:
    """Return what an answer has taken, and where the engine says that its time went; without what is not known."""
    time = usage.engine_time
    counts: Attributes = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "sage.engine.queue_us": time.queue_us,
        "sage.engine.tokenize_us": time.tokenize_us,
        "sage.engine.inference_us": time.inference_us,
    }
    return {name: count for name, count in counts.items() if count}
