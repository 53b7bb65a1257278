"""An upstream's HTTP errors in SAGE's terms: whose fault it is, and whether another engine may do better."""

from __future__ import annotations

from typing import Final

import orjson

from sage_common.errors import (
    ConflictError,
    ContendedError,
    EngineFailedError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    SageError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
    UnsupportedMediaTypeError,
)
from sage_mesh.upstream.reported_failure import ReportedFailure

# An engine's error object is passed on up to this size.
MAX_ERROR_BYTES: Final = 64 * 1024

# Statuses that say something about the request. Any other 4xx is an invalid request.
_REQUEST_ERRORS: Final[dict[int, type[SageError]]] = {
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    415: UnsupportedMediaTypeError,
    422: UnprocessableError,
}
# Statuses that say "not now": another engine may have room.
_BUSY_ERRORS: Final[dict[int, type[SageError]]] = {429: ContendedError, 503: UnavailableError}


def upstream_error(engine_id: str, status: int, body: bytes, retry_after: float | None = None) -> SageError:
    """Return the error for an upstream's answer with a status that is no success.

    Args:
        body: the upstream's body; passed on with the error when the request is at fault.
        retry_after: seconds after which the upstream wants to be asked again; None where it does not say.
    """
    reason = _reason(body)
    if status == 401:
        # It was SAGE's key that was refused, not the caller's; the body may quote part of it.
        return EngineFailedError(
            f"engine {engine_id!r} does not accept SAGE's API key for it (HTTP 401); set the engine's api_key",
            code="engine_api_key_refused",
            retryable=True,
            upstream_status=status,
        )
    if status in _BUSY_ERRORS:
        return _BUSY_ERRORS[status](
            f"engine {engine_id!r} is busy (HTTP {status}): {reason}",
            retry_after_seconds=retry_after,
            retryable=True,
            upstream_status=status,
            upstream_body=body,
        )
    if 400 <= status < 500:
        return _REQUEST_ERRORS.get(status, InvalidRequestError)(
            f"engine {engine_id!r} refused the request (HTTP {status}): {reason}",
            param=_param(body),
            upstream_status=status,
            upstream_body=body,
        )
    return EngineFailedError(
        f"engine {engine_id!r} failed (HTTP {status}): {reason}",
        retryable=True,
        upstream_status=status,
        upstream_body=body,
    )


def reported_error(engine_id: str, failure: ReportedFailure) -> SageError:
    """Return the error for a failure that an upstream reports inside an answer of status 200."""
    return upstream_error(engine_id, failure.status, failure.body)


def failed_midway(engine_id: str, failure: ReportedFailure) -> EngineFailedError:
    """Return the error for a failure that an upstream reports after a part of its answer."""
    return EngineFailedError(
        f"engine {engine_id!r} failed in the middle of its answer: {_reason(failure.body)}",
        retryable=True,
        upstream_status=failure.status if failure.status >= 500 else 503 if failure.status == 429 else 500,
    )


def model_lost(error: NotFoundError) -> NotFoundError:
    """Return the error for an upstream that no longer has a model which it lists: another engine may have it."""
    return NotFoundError(
        error.message,
        code="model_not_found",
        param=error.param,
        retryable=True,
        upstream_status=error.upstream_status,
        upstream_body=error.upstream_body,
    )


def names_model(body: bytes, model: str) -> bool:
    """Return whether the body of a 404 says that it is this model which the upstream does not have."""
    error = _error_object(body)
    code = error.get("code") if isinstance(error, dict) else None
    return code == "model_not_found" or model in _reason(body)


def _error_object(body: bytes) -> object:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # as Google's API writes it
    return value.get("error", value) if isinstance(value, dict) else None


def _reason(body: bytes) -> str:
    error = _error_object(body)
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    if isinstance(message, str) and message:
        return message
    text = body[:200].decode("utf-8", "replace").strip()
    return text or "it gave no reason"


def _param(body: bytes) -> str | None:
    error = _error_object(body)
    param = error.get("param") if isinstance(error, dict) else None
    return param if isinstance(param, str) else None
