"""HTTP responses as bytes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

from sage_common.errors import SageError

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"


def respond(status: int, media: bytes, body: bytes) -> bytes:
    """A whole response."""
    phrase = HTTPStatus(status).phrase.encode()
    head = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, phrase, media, len(body))
    return head + body


def respond_json(value: Any, status: int = 200) -> bytes:
    """A whole response with a JSON body; NumPy arrays are written as lists."""
    return respond(status, b"application/json", orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def respond_error(status: int, message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """An OpenAI error object."""
    return respond_json({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def respond_refusal(error: SageError) -> bytes:
    """A 400 that says what is wrong with the request."""
    return respond_error(400, error.message, "BadRequestError", error.code, error.param)


def event(data: bytes) -> bytes:
    """One server-sent event as one HTTP chunk."""
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)
