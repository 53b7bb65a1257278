"""Errors in Anthropic's shape. Source: https://docs.claude.com/en/api/errors."""

from __future__ import annotations

from typing import Final

import orjson

from sage_client.error_body import error_body, kind_of_status, status_of
from sage_common.errors import ErrorKind, SageError

# Status and type of each kind; what Anthropic has no status for takes the one of its group.
ANTHROPIC_ERRORS: Final[dict[ErrorKind, tuple[int, str]]] = {
    ErrorKind.INVALID_REQUEST: (400, "invalid_request_error"),
    ErrorKind.UNAUTHENTICATED: (401, "authentication_error"),
    ErrorKind.PERMISSION_DENIED: (403, "permission_error"),
    ErrorKind.NOT_FOUND: (404, "not_found_error"),
    ErrorKind.CONFLICT: (409, "invalid_request_error"),
    ErrorKind.TOO_LARGE: (413, "request_too_large"),
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: (400, "invalid_request_error"),
    ErrorKind.UNPROCESSABLE: (400, "invalid_request_error"),
    ErrorKind.CONTENDED: (429, "rate_limit_error"),
    ErrorKind.CANCELLED: (499, "invalid_request_error"),
    ErrorKind.INTERNAL: (500, "api_error"),
    ErrorKind.UNIMPLEMENTED: (400, "invalid_request_error"),
    ErrorKind.ENGINE_FAILED: (500, "api_error"),
    ErrorKind.UNAVAILABLE: (529, "overloaded_error"),
    ErrorKind.DEADLINE_EXCEEDED: (504, "timeout_error"),
}


def anthropic_error(error: SageError, request_id: str) -> tuple[int, bytes]:
    """Return the status and the body; where an engine refused, by its status and in its words."""
    kind, message = error.kind, error.message
    if error.upstream_body:
        kind = kind_of_status(status_of(error))
        message = orjson.loads(error_body(error))["error"]["message"]
    if kind is ErrorKind.UNAUTHENTICATED and error.code == "invalid_api_key":
        message = "invalid x-api-key"
    status, name = ANTHROPIC_ERRORS[kind]
    said = {"type": name, "message": message, "details": {"error_code": error.code}}
    return status, orjson.dumps({"type": "error", "error": said, "request_id": request_id})
