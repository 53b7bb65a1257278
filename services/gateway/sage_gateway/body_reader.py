"""The limit on a request's body, and reading a body within it.

A body over the limit is refused at once; the server reads what still comes and throws it away, so that the client gets
to read the refusal instead of a broken connection.
"""

from __future__ import annotations

import asyncio

from sage_common.errors import CancelledError, InvalidRequestError, TooLargeError
from sage_gateway.asgi import Receive

# What stages add to a request besides the prefix hashes: ids, hints, classification and its reasons.
_ADDED_BYTES = 64 * 1024
# Prefix hashes take 8 bytes for each block of text; this leaves room for blocks of 128 bytes, half the default.
_SHARE_FOR_HASHES = 16


def body_limit(configured_bytes: int, max_item_bytes: int) -> int:
    """Return the largest body to take: the configured one, or what the mesh can carry if that is less.

    Args:
        max_item_bytes: largest message of the ring.
    """
    room = max_item_bytes - _ADDED_BYTES
    return max(0, min(configured_bytes, room - room // _SHARE_FOR_HASHES))


class BodyReader:
    """Reads bodies.

    Args:
        max_bytes: largest body taken.
        timeout_seconds: longest wait for the rest of a body whose first part is there.
    """

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def read(self, headers: dict[str, str], receive: Receive) -> bytes:
        """Return the whole body.

        Raises:
            TooLargeError: over the limit, by its announced length or by what came.
            InvalidRequestError: empty, or not whole in time.
            CancelledError: the client went away.
        """
        announced = _announced_bytes(headers)
        if announced > self._max_bytes:
            raise self._too_large(announced)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CancelledError("the client went away")
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            try:
                body = await asyncio.wait_for(self._rest(body, receive), self._timeout_seconds)
            except asyncio.TimeoutError:
                raise InvalidRequestError(
                    f"the body was not complete within {self._timeout_seconds:g} s", code="body_timeout"
                ) from None
        elif len(body) > self._max_bytes:
            raise self._too_large(len(body))
        if not body:
            raise InvalidRequestError("the body is empty; send a JSON object", code="empty_body")
        return body

    async def _rest(self, first: bytes, receive: Receive) -> bytes:
        parts = [first]
        size = len(first)
        more = True
        while more:
            if size > self._max_bytes:
                raise self._too_large(size)
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CancelledError("the client went away")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = bool(message.get("more_body"))
        if size > self._max_bytes:
            raise self._too_large(size)
        return b"".join(parts)

    def _too_large(self, size: int) -> TooLargeError:
        return TooLargeError(
            f"the body has at least {size} bytes, the limit is {self._max_bytes}; send less, or raise "
            "SAGE_GATEWAY_MAX_BODY_BYTES"
        )


def _announced_bytes(headers: dict[str, str]) -> int:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else 0
