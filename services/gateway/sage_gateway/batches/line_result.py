"""What a line of a batch came to, as a line of the output file or of the error file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import orjson

from sage_client.error_body import error_body, status_of
from sage_common.errors import SageError
from sage_mesh import exact_json
from sage_mesh.reply import NO_USAGE, TokenUsage

# OpenAI's words for lines that were not run, and what is said of them.
NOT_RUN = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
}


@dataclass(frozen=True, slots=True)
class LineResult:
    """What a line came to.

    Attributes:
        number: of the line in its file.
        is_error: whether it goes into the error file.
        text: the line to write, its line end included.
    """

    number: int
    is_error: bool
    text: bytes
    usage: TokenUsage = NO_USAGE


def answered(number: int, custom_id: str, request_id: str, body: bytes, usage: TokenUsage) -> LineResult:
    """Return what a request came to that was answered; ``body`` is the answer's JSON."""
    if b"\n" in body or b"\r" in body:
        body = exact_json.write(exact_json.read(body))
    return LineResult(number, False, _line(custom_id, _response(200, request_id, body)), usage)


def refused(number: int, custom_id: str | None, request_id: str, error: SageError) -> LineResult:
    """Return what a line came to that failed."""
    body = error_body(error)
    if b"\n" in body or b"\r" in body:
        body = orjson.dumps(orjson.loads(body))
    return LineResult(number, True, _line(custom_id, _response(status_of(error), request_id, body)))


def not_run(custom_id: str | None, ends_as: str) -> bytes:
    """Return the line for a request that was not run before its batch ended."""
    code, message = NOT_RUN[ends_as]
    return _line(custom_id, b"null", {"code": code, "message": message})


def _response(status: int, request_id: str, body: bytes) -> bytes:
    return b'{"status_code":%d,"request_id":%b,"body":%b}' % (status, orjson.dumps(request_id), body)


def _line(custom_id: str | None, response: bytes, error: dict[str, Any] | None = None) -> bytes:
    made = f"batch_req_{os.urandom(12).hex()}"
    return b'{"id":"%b","custom_id":%b,"response":%b,"error":%b}\n' % (
        made.encode(),
        exact_json.write(custom_id),
        response,
        orjson.dumps(error),
    )
