"""The error tree. Each error has one kind; each edge has one table from kinds to its own codes.

SageError
├── InvalidRequestError        malformed input                      HTTP 400
├── UnauthenticatedError       credentials missing or wrong         HTTP 401
├── PermissionDeniedError      not allowed                          HTTP 403
├── NotFoundError              no such model or resource            HTTP 404
├── ConflictError              wrong state for this                 HTTP 409
├── TooLargeError              body over the limit                  HTTP 413
├── UnsupportedMediaTypeError  content type not understood          HTTP 415
├── UnprocessableError         well-formed, cannot be processed     HTTP 422
├── ContendedError             too much queued                      HTTP 429
├── CancelledError             the client went away                 HTTP 499
├── InternalError              SAGE failed                          HTTP 500
├── UnimplementedError         not supported                        HTTP 501
├── EngineFailedError          the engine failed or died            HTTP 502
├── UnavailableError           no engine serves this now            HTTP 503
├── DeadlineExceededError      the deadline passed                  HTTP 504
└── ConfigurationError         settings are wrong; ends the process
"""

from __future__ import annotations

import os
from enum import Enum
from typing import ClassVar


class ErrorKind(Enum):
    """Machine-readable cause of a failure; the values are the wire's numbers."""

    INVALID_REQUEST = 1
    UNAUTHENTICATED = 2
    PERMISSION_DENIED = 3
    NOT_FOUND = 4
    CONFLICT = 5
    TOO_LARGE = 6
    UNSUPPORTED_MEDIA_TYPE = 7
    UNPROCESSABLE = 8
    CONTENDED = 9
    CANCELLED = 10
    INTERNAL = 11
    UNIMPLEMENTED = 12
    ENGINE_FAILED = 13
    UNAVAILABLE = 14
    DEADLINE_EXCEEDED = 15


class SageError(Exception):
    """A failure that people and programs can act on.

    Args:
        message: what happened, the value seen, and what to do next.
        code: stable machine code; the class's own when not given.
        param: request field at fault, if one is.
        retry_after_seconds: when to try again, if known.
        retryable: whether another engine may succeed where this one failed.
    """

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        retryable: bool = False,
        upstream_status: int = 0,
        upstream_body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.retryable = retryable
        self.upstream_status = upstream_status
        self.upstream_body = upstream_body


class InvalidRequestError(SageError):
    """The request is malformed."""

    kind = ErrorKind.INVALID_REQUEST
    default_code = "invalid_request"


class UnauthenticatedError(SageError):
    """Credentials are missing or wrong."""

    kind = ErrorKind.UNAUTHENTICATED
    default_code = "invalid_api_key"


class PermissionDeniedError(SageError):
    """The caller may not do this."""

    kind = ErrorKind.PERMISSION_DENIED
    default_code = "permission_denied"


class NotFoundError(SageError):
    """The model or resource does not exist."""

    kind = ErrorKind.NOT_FOUND
    default_code = "not_found"


class ConflictError(SageError):
    """The resource is in a state that forbids this."""

    kind = ErrorKind.CONFLICT
    default_code = "conflict"


class TooLargeError(SageError):
    """The body is over the limit."""

    kind = ErrorKind.TOO_LARGE
    default_code = "request_too_large"


class UnsupportedMediaTypeError(SageError):
    """The content type is not understood."""

    kind = ErrorKind.UNSUPPORTED_MEDIA_TYPE
    default_code = "unsupported_media_type"


class UnprocessableError(SageError):
    """The request is well-formed but cannot be processed."""

    kind = ErrorKind.UNPROCESSABLE
    default_code = "unprocessable"


class ContendedError(SageError):
    """Too much work is queued; try again later."""

    kind = ErrorKind.CONTENDED
    default_code = "overloaded"


class CancelledError(SageError):
    """The client went away."""

    kind = ErrorKind.CANCELLED
    default_code = "cancelled"


class InternalError(SageError):
    """SAGE failed."""

    kind = ErrorKind.INTERNAL
    default_code = "internal_error"


class UnimplementedError(SageError):
    """The operation is not supported."""

    kind = ErrorKind.UNIMPLEMENTED
    default_code = "not_supported"


class EngineFailedError(SageError):
    """The engine failed or died while it served the request."""

    kind = ErrorKind.ENGINE_FAILED
    default_code = "engine_failed"


class UnavailableError(SageError):
    """No engine or service can take this now."""

    kind = ErrorKind.UNAVAILABLE
    default_code = "unavailable"


class DeadlineExceededError(SageError):
    """The deadline passed."""

    kind = ErrorKind.DEADLINE_EXCEEDED
    default_code = "deadline_exceeded"


class ConfigurationError(SageError):
    """Settings are wrong. Shown to the operator; the process ends."""

    kind = ErrorKind.INVALID_REQUEST
    default_code = "invalid_configuration"


_BY_KIND: dict[ErrorKind, type[SageError]] = {
    cls.kind: cls for cls in SageError.__subclasses__() if cls is not ConfigurationError
}


def error_class(kind: ErrorKind) -> type[SageError]:
    """Return the class for a kind."""
    return _BY_KIND[kind]


def describe(error: BaseException) -> str:
    """Return what an exception says, or its kind where it says nothing, as time-outs do."""
    return str(error) or type(error).__name__


def why_unconnected(error: OSError) -> str:
    """Return why no connection could be made, in the system's words: asyncio's own repeat the address instead."""
    if error.errno is not None and error.errno > 0 and type(error).__module__ != "ssl":
        return os.strerror(error.errno)
    # Negative numbers are the resolver's, those of an SSLError are OpenSSL's; both have their own words.
    return error.strerror or describe(error)
