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

# An engine's error object is passed on up to this size.
MAX_ERROR_BYTES: Final = 64 * 1024
MAX_RETRY_AFTER_SECONDS: Final = 600.0

# How such an event begins. Inside a JSON string the quotes would be escaped.
_ERROR_EVENT: Final = b'data: {"error"'

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


def upstream_error(engine_id: str, status: int, body: bytes, retry_after: str | None = None) -> SageError:
    """Return the error for an upstream's answer with a status that is no success.

    Args:
        body: the upstream's body; passed on with the error when the request is at fault.
        retry_after: the ``Retry-After`` header.
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
            retry_after_seconds=_seconds(retry_after),
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


def split_at_error(events: bytes, engine_id: str) -> tuple[bytes, EngineFailedError | None]:
    """Split a stream's whole events at the event in which the server reports its own failure.

    A vLLM whose engine process has died ends its streams like this, with [DONE] after it. An error that is the
    request's own fault stays an event like any other.
    """
    at = 0 if events.startswith(_ERROR_EVENT) else events.find(b"\n" + _ERROR_EVENT) + 1
    if not at and not events.startswith(_ERROR_EVENT):
        return events, None
    body = events[at:].split(b"\n", 1)[0].removeprefix(b"data: ")
    error = _error_object(body)
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) else 500
    if status < 500:
        return events, None
    failure = EngineFailedError(
        f"engine {engine_id!r} failed in the middle of its answer: {_reason(body)}",
        retryable=True,
        upstream_status=status if status < 600 else 500,
    )
    return events[:at], failure


def _error_object(body: bytes) -> object:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
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


def _seconds(retry_after: str | None) -> float | None:
    """Read the delay form of Retry-After (RFC 9110 §10.2.3); a date is left out, clocks differ."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds >= 0 else None
