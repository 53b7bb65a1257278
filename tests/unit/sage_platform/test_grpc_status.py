from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from sage_common.errors import ErrorKind, NotFoundError, UnavailableError
from sage_platform.grpc_server import GRPC_STATUS
from sage_platform.grpc_status import error_from_status


def refused(status: grpc.StatusCode, details: str, *trailing: tuple[str, str]) -> AioRpcError:
    return AioRpcError(status, Metadata(), Metadata(*trailing), details, None)


def test_a_workers_error_comes_back_with_its_kind_and_code() -> None:
    failure = refused(GRPC_STATUS[ErrorKind.NOT_FOUND], "no job 'x'", ("sage-error-code", "no_such_job"))
    error = error_from_status(failure, "worker", "host:1")
    assert isinstance(error, NotFoundError)
    assert (error.message, error.code) == ("no job 'x'", "no_such_job")


def test_a_silent_address_says_what_to_look_at() -> None:
    failure = refused(grpc.StatusCode.UNAVAILABLE, "connect failed")
    error = error_from_status(failure, "worker", "host:1")
    assert isinstance(error, UnavailableError)
    assert "host:1" in error.message
    assert "sage status" in error.message


@pytest.mark.parametrize("status", list(grpc.StatusCode))
def test_every_status_becomes_some_error(status: grpc.StatusCode) -> None:
    assert error_from_status(refused(status, ""), "worker", "host:1").message
