"""Errors to HTTP and back."""

from __future__ import annotations

import orjson
import pytest

from sage_client.error_body import (
    HTTP_STATUS,
    error_body,
    error_event,
    error_from_object,
    error_from_response,
    kind_of_status,
    retry_after_of,
    status_of,
)
from sage_common.errors import (
    ContendedError,
    EngineFailedError,
    ErrorKind,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
    UnprocessableError,
    error_class,
)


def test_every_kind_has_a_status_of_its_own() -> None:
    assert set(HTTP_STATUS) == set(ErrorKind)
    assert len(set(HTTP_STATUS.values())) == len(ErrorKind)


@pytest.mark.parametrize("kind", ErrorKind)
def test_an_error_comes_back_from_http_as_it_went(kind: ErrorKind) -> None:
    error = error_class(kind)("what happened", code="some_code", param="field")
    back = error_from_response(status_of(error), error_body(error), {})
    assert type(back) is type(error)
    assert (back.message, back.code, back.param) == ("what happened", "some_code", "field")


@pytest.mark.parametrize("kind", ErrorKind)
def test_an_error_comes_back_from_an_event_as_it_went(kind: ErrorKind) -> None:
    error = error_class(kind)("what happened")
    event = error_event(error)
    assert event.endswith(b"\n\n")
    back = error_from_object(orjson.loads(event.removeprefix(b"data: "))["error"])
    assert (type(back), back.message, back.code) == (type(error), "what happened", error.default_code)


@pytest.mark.parametrize(("status", "kind"), [(418, ErrorKind.INVALID_REQUEST), (507, ErrorKind.INTERNAL)])
def test_a_status_that_sage_does_not_use_counts_by_its_hundred(status: int, kind: ErrorKind) -> None:
    assert kind_of_status(status) is kind


def test_openais_types_are_used() -> None:
    types = {
        InvalidRequestError: "invalid_request_error",
        NotFoundError: "invalid_request_error",
        UnauthenticatedError: "authentication_error",
        ContendedError: "rate_limit_error",
        InternalError: "server_error",
        EngineFailedError: "server_error",
    }
    for cls, expected in types.items():
        assert orjson.loads(error_body(cls("x")))["error"]["type"] == expected


def test_the_engines_own_body_and_status_are_passed_through() -> None:
    body = b'{"error":{"message":"no such schema","code":400}}'
    error = UnprocessableError("x", upstream_status=400, upstream_body=body)
    assert (status_of(error), error_body(error)) == (400, body)
    assert b'"no such schema"' in error_event(error)


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"[1]", b'{"error":', b""])
def test_what_is_no_error_object_is_told_in_one(body: bytes) -> None:
    error = EngineFailedError("engine 'e' failed", upstream_status=502, upstream_body=body)
    assert orjson.loads(error_body(error))["error"]["message"] == "engine 'e' failed"


def test_an_engines_status_that_is_no_error_is_not_passed_through() -> None:
    error = EngineFailedError("x", upstream_status=200, upstream_body=b"odd")
    assert status_of(error) == 502


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ContendedError("x", retry_after_seconds=2.1), 3),
        (ContendedError("x", retry_after_seconds=0.01), 1),
        (UnavailableError("x"), 1),
        (InvalidRequestError("x"), None),
    ],
)
def test_retry_after_is_in_whole_seconds_and_only_where_it_helps(error: ContendedError, seconds: int | None) -> None:
    assert retry_after_of(error) == seconds


def test_retry_after_comes_back() -> None:
    error = error_from_response(429, error_body(ContendedError("x")), {"retry-after": "7"})
    assert error.retry_after_seconds == 7
    assert error_from_response(429, b"", {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}).retry_after_seconds is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Bad Gateway</html>", "the server answered 502: <html>Bad Gateway</html>"),
        (b"", "the server answered 502: no body"),
        (b"[1]", "the server answered 502: [1]"),
        (b'{"error":"plain text"}', "plain text"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"object":"error","message":"old vLLM","code":40303}', "old vLLM"),
        (b"\xff\xfe", "the server answered 502: \ufffd\ufffd"),
    ],
)
def test_any_body_gives_an_error_that_says_something(body: bytes, message: str) -> None:
    error = error_from_response(502, body, {})
    assert isinstance(error, EngineFailedError)
    assert error.message == message
