"""Reading a request's body within its limit.

A body over the limit is refused at once; the server reads what still comes and throws it away, so that the client gets
to read the refusal instead of a broken connection.
"""

from __future__ import annotations

import asyncio

from sage_common.errors import CancelledError, InvalidRequestError, TooLargeError
from sage_gateway.asgi import Receive


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
