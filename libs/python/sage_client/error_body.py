"""Errors ↔ HTTP, in one place: the status of each kind, and OpenAI's error object.

The gateway writes with the first half what the HTTP client reads with the second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from sage_common.errors import ErrorKind, SageError, error_class

HTTP_STATUS: dict[ErrorKind, int] = {
    ErrorKind.INVALID_REQUEST: 400,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.PERMISSION_DENIED: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorKind.UNPROCESSABLE: 422,
    ErrorKind.CONTENDED: 429,
    ErrorKind.CANCELLED: 499,
    ErrorKind.INTERNAL: 500,
    ErrorKind.UNIMPLEMENTED: 501,
    ErrorKind.ENGINE_FAILED: 502,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.DEADLINE_EXCEEDED: 504,
}
_KIND_OF_STATUS = {status: kind for kind, status in HTTP_STATUS.items()}

# OpenAI's names for groups of failures; whatever is missing here is the caller's or the server's fault by its status.
_ERROR_TYPE = {
    ErrorKind.UNAUTHENTICATED: "authentication_error",
    ErrorKind.PERMISSION_DENIED: "permission_error",
    ErrorKind.CONTENDED: "rate_limit_error",
}
# A code that is a type of its own, whose meaning for OpenAI's clients is that trying again soon is of no use.
_INSUFFICIENT_QUOTA = "insufficient_quota"
# Retry-After of a 429 or 503 whose sender did not know when to try again.
DEFAULT_RETRY_AFTER_SECONDS = 1


def status_of(error: SageError) -> int:
    """Return the HTTP status: the engine's own where its answer is passed through."""
    if error.upstream_body and 400 <= error.upstream_status < 600:
        return error.upstream_status
    return HTTP_STATUS[error.kind]


def retry_after_of(error: SageError) -> int | None:
    """Return whole seconds for ``Retry-After``, at least 1, or None where the header has no place."""
    if error.retry_after_seconds is not None:
        return max(1, math.ceil(error.retry_after_seconds))
    return DEFAULT_RETRY_AFTER_SECONDS if status_of(error) in (429, 503) else None


def error_body(error: SageError) -> bytes:
    """Render ``{"error": {…}}``: the engine's own body where it is that, else with the engine's own words.

    What an engine says in another shape keeps its fields; a proxy's page is quoted in the message.
    """
    body = error.upstream_body
    own = _read_object(body) if body else None
    if own is None:
        return orjson.dumps({"error": _error_object(error)})
    return body if _is_error_body(body) else orjson.dumps({"error": {**_error_object(error), **own}})


def error_event(error: SageError) -> bytes:
    """Render a ``text/event-stream`` event for an error after the stream began.

    The status line has gone out by then, so the object also carries the ``status``.
    """
    value: dict[str, Any] = _error_object(error)
    if error.upstream_body:
        value = _read_object(error.upstream_body) or value
    return b"data: " + orjson.dumps({"error": {**value, "status": status_of(error)}}) + b"\n\n"


def error_from_response(status: int, body: bytes, headers: Mapping[str, str]) -> SageError:
    """Read an error response; the body may be anything, since proxies answer too."""
    value = _read_object(body)
    if value is None:
        shown = body[:200].decode("utf-8", "replace").strip()
        value = {"message": f"the server answered {status}: {shown or 'no body'}"}
    return error_from_object(value, status, retry_after_seconds=_retry_after(headers))


def error_from_object(
    value: Mapping[str, Any], status: int = 0, *, retry_after_seconds: float | None = None
) -> SageError:
    """Build the typed error of OpenAI's error object; in an event the status is a field of it."""
    stated = value.get("status")
    if not status:
        status = stated if isinstance(stated, int) else 502
    code, param = value.get("code"), value.get("param")
    return error_class(kind_of_status(status))(
        str(value.get("message") or f"the server answered {status}"),
        code=code if isinstance(code, str) else None,
        param=param if isinstance(param, str) else None,
        retry_after_seconds=retry_after_seconds,
    )


def kind_of_status(status: int) -> ErrorKind:
    """Return the kind of a status; one that SAGE does not use counts by its hundred."""
    known = _KIND_OF_STATUS.get(status)
    if known is not None:
        return known
    return ErrorKind.INVALID_REQUEST if 400 <= status < 500 else ErrorKind.INTERNAL


def _error_object(error: SageError) -> dict[str, Any]:
    kind = error.kind
    fault = "invalid_request_error" if HTTP_STATUS[kind] < 500 else "server_error"
    is_quota = error.code == _INSUFFICIENT_QUOTA
    return {
        "message": error.message,
        "type": _INSUFFICIENT_QUOTA if is_quota else _ERROR_TYPE.get(kind, fault),
        "param": error.param,
        "code": error.code,
    }


def _is_error_body(body: bytes) -> bool:
    value = orjson.loads(body)
    return isinstance(value, dict) and isinstance(value.get("error"), dict) and "message" in value["error"]


def _read_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # as Google's API writes it
    if not isinstance(value, dict):
        return None
    # vLLM before 0.10 answers with the bare object, FastAPI with "detail".
    inner = value.get("error", value)
    if isinstance(inner, str):
        return {"message": inner}
    if not isinstance(inner, dict):
        return None
    if "message" not in inner and "detail" in inner:
        detail = inner["detail"]
        return {**inner, "message": detail if isinstance(detail, str) else orjson.dumps(detail).decode()}
    return inner if "message" in inner else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers.get("retry-after", ""))
    except ValueError:
        return None
