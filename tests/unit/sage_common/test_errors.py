"""The error tree and its tables."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import grpc

from sage.inference.v1 import frame_pb2
from sage_common.errors import ErrorKind, SageError, describe, error_class, why_unconnected
from sage_platform.grpc_server import GRPC_STATUS


def test_every_kind_has_one_class_of_its_own() -> None:
    classes = {kind: error_class(kind) for kind in ErrorKind}
    assert all(cls.kind is kind for kind, cls in classes.items())
    assert len(set(classes.values())) == len(ErrorKind)
    assert all(issubclass(cls, SageError) for cls in classes.values())


def test_kinds_and_wire_numbers_are_the_same() -> None:
    wire = {
        number: name.removeprefix("ERROR_KIND_")
        for name, number in frame_pb2.ErrorKind.items()
        if number != frame_pb2.ERROR_KIND_UNSPECIFIED
    }
    assert wire == {kind.value: kind.name for kind in ErrorKind}


def test_every_kind_has_a_grpc_status_and_none_is_ok() -> None:
    assert set(GRPC_STATUS) == set(ErrorKind)
    assert grpc.StatusCode.OK not in GRPC_STATUS.values()


def test_every_class_has_a_machine_code() -> None:
    codes = [error_class(kind).default_code for kind in ErrorKind]
    assert len(set(codes)) == len(codes)


def test_an_exception_that_says_nothing_is_described_by_its_kind() -> None:
    # The exception itself is true whatever it says, so `error or ...` would say nothing.
    assert (describe(TimeoutError()), describe(OSError("no room"))) == ("TimeoutError", "no room")


def test_a_connection_that_failed_is_explained_by_the_system_or_by_the_resolver() -> None:
    refused = OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 9)")
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert (why_unconnected(refused), why_unconnected(unknown)) == (os.strerror(errno.ECONNREFUSED), unknown.strerror)
    assert why_unconnected(OSError("Multiple exceptions")) == "Multiple exceptions"
    # OpenSSL's numbers are not the system's.
    assert why_unconnected(ssl.SSLCertVerificationError(1, "certificate verify failed")) == "certificate verify failed"
