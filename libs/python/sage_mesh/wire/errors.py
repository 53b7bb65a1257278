"""Errors ↔ protobuf."""

from __future__ import annotations

from sage.inference.v1 import frame_pb2
from sage_common.errors import ErrorKind, SageError, error_class


def error_to_wire(error: SageError) -> frame_pb2.ErrorDetail:
    """Translate an error."""
    return frame_pb2.ErrorDetail(
        kind=error.kind.value,  # type: ignore[arg-type]
        code=error.code,
        message=error.message,
        param=error.param or "",
        retry_after_ms=int((error.retry_after_seconds or 0) * 1000),
        retryable=error.retryable,
        upstream_status=error.upstream_status,
        upstream_body=error.upstream_body,
    )


def error_from_wire(message: frame_pb2.ErrorDetail) -> SageError:
    """Translate an error; an unknown kind becomes an internal error."""
    try:
        kind = ErrorKind(message.kind)
    except ValueError:
        kind = ErrorKind.INTERNAL
    return error_class(kind)(
        message.message,
        code=message.code or None,
        param=message.param or None,
        retry_after_seconds=message.retry_after_ms / 1000 if message.retry_after_ms else None,
        retryable=message.retryable,
        upstream_status=message.upstream_status,
        upstream_body=message.upstream_body,
    )
