"""The limit on a request's body, and reading a body within it.

A body over the limit is refused at once; the server reads what still comes and throws it away, so that the client gets
to read the refusal instead of a broken connection.
"""

from __future__ import annotations

import asyncio

from sage_common.errors import CancelledError, InvalidRequestError, TooLargeError, UnavailableError
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
        inline_bytes: of bodies longer than this only ``long_at_once`` are read at the same time; None for no bound.
    """

    def __init__(
        self, max_bytes: int, timeout_seconds: float, *, inline_bytes: int | None = None, long_at_once: int = 4
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._inline_bytes = max_bytes if inline_bytes is None else inline_bytes
        self._long = asyncio.Semaphore(long_at_once)

    async def read(self, headers: dict[str, str], receive: Receive) -> bytes:
        """Return the whole body.

        Raises:
            TooLargeError: over the limit, by its announced length or by what came.
            InvalidRequestError: empty, or not whole in time.
            CancelledError: the client went away.
            UnavailableError: it is long, and others are being read.
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
        is_long, more = False, True
        try:
            while more:
                if size > self._max_bytes:
                    raise self._too_large(size)
                if size > self._inline_bytes and not is_long:
                    await self._begin_long()
                    is_long = True
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise CancelledError("the client went away")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                more = bool(message.get("more_body"))
            if size > self._max_bytes:
                raise self._too_large(size)
            return b"".join(parts)
        finally:
            if is_long:
                self._long.release()

    async def _begin_long(self) -> None:
        try:
            await asyncio.wait_for(self._long.acquire(), self._timeout_seconds / 2)
        except asyncio.TimeoutError:
            raise UnavailableError(
                f"other bodies of more than {self._inline_bytes} bytes are being read; try again",
                code="too_many_long_bodies",
                retry_after_seconds=1,
            ) from None

    def _too_large(self, size: int) -> TooLargeError:
        return TooLargeError(
            f"the body has at least {size} bytes, the limit is {self._max_bytes}; send less, or raise "
            "SAGE_GATEWAY_MAX_BODY_BYTES"
        )


def _announced_bytes(headers: dict[str, str]) -> int:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else 0
