"""Which errors another model may do better with."""

from __future__ import annotations

import pytest

from sage_common.errors import (
    CancelledError,
    ContendedError,
    DeadlineExceededError,
    EngineFailedError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    SageError,
    TooLargeError,
    UnavailableError,
)
from sage_gateway.model_routing.fallback_reason import reason_of

VLLM = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"
LLAMA_CPP = b'{"error":{"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}'


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ContendedError("full", code="queue_full"), "refusal"),
        (ContendedError("busy", upstream_status=429), "refusal"),
        (UnavailableError("busy", upstream_status=503), "refusal"),
        (UnavailableError("none", code="no_engine"), "failure"),
        (UnavailableError("the edge stops", code="edge_stopping"), None),
        (EngineFailedError("died", code="engine_lost"), "failure"),
        (EngineFailedError("wrong", upstream_status=500), "failure"),
        (InternalError("bug"), "failure"),
        (NotFoundError("gone", code="model_not_found"), "failure"),
        (InvalidRequestError("long", code="context_length_exceeded"), "context_length"),
        (InvalidRequestError("long", code="input_too_long"), "context_length"),
        (InvalidRequestError(VLLM, upstream_status=400), "context_length"),
        (InvalidRequestError("refused", upstream_status=400, upstream_body=LLAMA_CPP), "context_length"),
        (InvalidRequestError("the field 'context length' is not known"), None),
        (InvalidRequestError("temperature is 9"), None),
        (TooLargeError("the body is too large"), None),
        (NotFoundError("no such file"), None),
        (PermissionDeniedError("no"), None),
        (DeadlineExceededError("late"), None),
        (CancelledError("gone"), None),
    ],
)
def test_an_error_is_a_reason_or_the_callers_to_have(error: SageError, reason: str | None) -> None:
    assert reason_of(error) == reason
