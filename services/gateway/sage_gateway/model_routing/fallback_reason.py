"""Which errors another model may do better with, and why."""

from __future__ import annotations

from sage_common.errors import (
    ContendedError,
    EngineFailedError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    SageError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)
from sage_common.model_routes import FallbackReason
from sage_mesh.edge.outcome import EDGE_STOPPING

# How servers say that a prompt does not fit: OpenAI and vLLM; llama.cpp; Anthropic; SGLang; SAGE's own embedder.
_TOO_LONG = (
    "context length",
    "context_length",
    "context size",
    "context window",
    "exceed_context_size",
    "prompt is too long",
    "input_too_long",
)
_REQUEST_ERRORS = (InvalidRequestError, TooLargeError, UnprocessableError)


def reason_of(error: SageError) -> FallbackReason | None:
    """Return why a request goes on with another model; None where the error is the caller's to have.

    A time-out is no reason: the caller's time is over. Nor is an invalid request, which stays one, nor the end of the
    gateway itself.
    """
    if isinstance(error, _REQUEST_ERRORS):
        return "context_length" if _is_too_long(error) else None
    if isinstance(error, ContendedError):
        return "refusal"
    if isinstance(error, UnavailableError):
        if error.code == EDGE_STOPPING:
            return None
        return "refusal" if error.upstream_status == 503 else "failure"
    if isinstance(error, NotFoundError):
        return "failure" if error.code in ("model_not_found", "engine_not_found") else None
    return "failure" if isinstance(error, EngineFailedError | InternalError) else None


def _is_too_long(error: SageError) -> bool:
    if error.code in ("context_length_exceeded", "input_too_long"):
        return True
    said = f"{error.message}\n{error.upstream_body.decode('utf-8', 'replace')}".lower()
    return error.upstream_status in (400, 413, 422) and any(words in said for words in _TOO_LONG)
