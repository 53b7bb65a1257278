"""A failed gRPC call turned back into the error that the other side raised."""

from __future__ import annotations

from typing import Any

import grpc

from sage_common.errors import ErrorKind, SageError, UnavailableError, error_class
from sage_platform.grpc_server import CODE_METADATA, GRPC_STATUS


def error_from_status(error: grpc.aio.AioRpcError, service: str, address: str) -> SageError:
    """Return the error with its kind, message and machine code.

    Args:
        service: what was called, for people.
        address: where; named when nothing answers there.
    """
    kinds: dict[grpc.StatusCode, ErrorKind] = {}
    for kind, status in GRPC_STATUS.items():
        kinds.setdefault(status, kind)
    if is_unanswered(error):
        return UnavailableError(f"no {service} answers at {address}; `sage status` shows what runs")
    kind = kinds.get(error.code(), ErrorKind.INTERNAL)
    return error_class(kind)(error.details() or f"the {service} failed with {error.code().name}", code=_code(error))


def is_unanswered(error: grpc.aio.AioRpcError) -> bool:
    """Whether the call failed on its way; an answer of SAGE's own has a machine code."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and _code(error) is None


def _code(error: grpc.aio.AioRpcError) -> str | None:
    trailing: Any = error.trailing_metadata() or ()
    return next((str(value) for key, value in trailing if key == CODE_METADATA), None)
