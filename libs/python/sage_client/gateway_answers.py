"""Reading what a gateway's management API answers: JSON objects, and streams of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast

import aiohttp
import orjson
from pydantic import TypeAdapter, ValidationError

from sage_client.error_body import error_from_object
from sage_common.errors import InternalError, UnavailableError

T = TypeVar("T")
# Between two of them the gateway sends a comment every 15 s: silence for longer is a connection that is gone.
SILENCE_SECONDS = 60.0
# A message of results has at most a megabyte, which JSON within JSON may double.
MOST_LINE_BYTES = 8 * 1024 * 1024


def object_of(answer: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises InternalError."""
    try:
        return cast(dict[str, Any], orjson.loads(answer))
    except orjson.JSONDecodeError:
        raise InternalError(f"the gateway's answer is no JSON: {answer[:80]!r}") from None


def value_of(value: object, kind: type[T]) -> T:
    """Return what came as JSON as an object of its class. Raises InternalError."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise InternalError(f"the gateway's answer is not understood ({error.errors()[0]['msg']})") from None


async def events_of(response: aiohttp.ClientResponse, remedy: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a stream up to its end.

    Args:
        remedy: what to do where it breaks off.

    Raises:
        UnavailableError: it breaks off.
        SageError: that the stream ends with.
    """
    while True:
        line = await _line(response, remedy)
        if not line.startswith(b"data: "):
            continue
        data = line[len(b"data: ") :].strip()
        if data == b"[DONE]":
            return
        value = orjson.loads(data)
        if "error" in value:
            raise error_from_object(value["error"])
        yield value


async def _line(response: aiohttp.ClientResponse, remedy: str) -> bytes:
    try:
        line = await asyncio.wait_for(response.content.readline(max_line_length=MOST_LINE_BYTES), SILENCE_SECONDS)
    except (asyncio.TimeoutError, aiohttp.ClientPayloadError):
        line = b""
    if not line:
        raise UnavailableError(
            f"the gateway's stream broke off before its end; {remedy}", code="connection_lost", retryable=True
        )
    return line
