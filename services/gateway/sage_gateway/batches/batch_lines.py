"""The lines of a batch's file: cut out of its chunks, and read as requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from sage_common.errors import InvalidRequestError
from sage_mesh import exact_json

MAX_CUSTOM_ID_CHARACTERS = 512
_KNOWN_FIELDS = frozenset({"custom_id", "method", "url", "body"})


class FileLine(NamedTuple):
    """A line of a file that is not blank; ``number`` counts all lines from 1, and ``text`` is None where the line is
    longer than lines may be."""

    number: int
    text: bytes | None


class BatchLine(NamedTuple):
    """A request of a batch."""

    number: int
    custom_id: str
    body: dict[str, Any]


class BrokenLineError(InvalidRequestError):
    """A line is no request of its batch; ``custom_id`` is None where it cannot be told."""

    default_code = "invalid_request_line"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code, param=param)
        self.custom_id: str | None = None


async def file_lines(chunks: AsyncIterator[bytes], max_line_bytes: int) -> AsyncIterator[FileLine]:
    """Yield the lines of a file. No more than a chunk and the longest line are in memory at once."""
    held = bytearray()
    is_overlong = False
    number = 0
    async for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            held += chunk[start:end]
            start = end + 1
            number += 1
            if is_overlong or len(held) > max_line_bytes:
                yield FileLine(number, None)
            elif held and not held.isspace():
                yield FileLine(number, bytes(held))
            held.clear()
            is_overlong = False
        held += chunk[start:]
        if len(held) > max_line_bytes:
            # What is too long is not kept; its end is only looked for.
            held.clear()
            is_overlong = True
    if is_overlong:
        yield FileLine(number + 1, None)
    elif held and not held.isspace():
        yield FileLine(number + 1, bytes(held))


def read_line(line: FileLine, endpoint: str, max_line_bytes: int) -> BatchLine:
    """Read a line as a request of a batch for ``endpoint``. Raises BrokenLineError."""
    if line.text is None:
        raise BrokenLineError(f"the line has more than {max_line_bytes} bytes", code="request_too_large")
    try:
        value = exact_json.read(line.text.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.text)
    except ValueError as error:
        raise BrokenLineError(f"the line is not valid JSON: {error}", code="invalid_json_line") from None
    if not isinstance(value, dict):
        raise BrokenLineError("the line is no JSON object", code="invalid_json_line")
    custom_id = value.get("custom_id")
    try:
        body = _checked(value, endpoint)
    except BrokenLineError as error:
        error.custom_id = custom_id if isinstance(custom_id, str) else None
        raise
    assert isinstance(custom_id, str)
    return BatchLine(line.number, custom_id, body)


def _checked(value: dict[str, Any], endpoint: str) -> dict[str, Any]:
    custom_id, method, url, body = (value.get(name) for name in ("custom_id", "method", "url", "body"))
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS:
        raise BrokenLineError(
            f"'custom_id' must be a string of 1 to {MAX_CUSTOM_ID_CHARACTERS} characters", param="custom_id"
        )
    if method != "POST":
        raise BrokenLineError(f"'method' is {str(method)[:40]!r}; requests of batches are POST", param="method")
    if url != endpoint:
        raise BrokenLineError(
            f"'url' is {str(url)[:80]!r}, the batch is for {endpoint!r}", code="mismatched_endpoint", param="url"
        )
    if not isinstance(body, dict):
        raise BrokenLineError("'body' must be an object: the request", param="body")
    for name in value.keys() - _KNOWN_FIELDS:
        if value[name] is not None:
            raise BrokenLineError(
                f"{name[:80]!r} is not a field of a line; leave it out", code="unknown_parameter", param=name[:80]
            )
    if body.get("stream"):
        raise BrokenLineError(
            "'body.stream' asks for a stream; answers of batches are whole",
            code="unsupported_parameter",
            param="body.stream",
        )
    return body
