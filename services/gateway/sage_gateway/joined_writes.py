"""The head of an answer leaves with the beginning of its body: one system call, one packet."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_HEAD: Final = b"HTTP/1.1 "


class JoinedWrites(asyncio.Transport):
    """A transport that holds the head of an answer back until its body is written, or this turn of the loop ends.

    uvicorn writes the two one after the other, and uvloop sends each at once.

    Args:
        transport: what is written to.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._end_of_turn: asyncio.Handle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write ``data``, or hold it back where it is the head of an answer."""
        if self._end_of_turn is not None:
            self._transport.write(b"".join((self._take_head(), data)))
        elif data[: len(_HEAD)] == _HEAD:
            self._head = bytes(data)
            self._end_of_turn = self._loop.call_soon(self._release)
        else:
            self._transport.write(data)

    def _take_head(self) -> bytes:
        if self._end_of_turn is not None:
            self._end_of_turn.cancel()
            self._end_of_turn = None
        head, self._head = self._head, b""
        return head

    def _release(self) -> None:
        if head := self._take_head():
            self._transport.write(head)

    def close(self) -> None:
        """Close it when all is sent."""
        self._release()
        self._transport.close()

    def write_eof(self) -> None:
        """Send the end when all is sent."""
        self._release()
        self._transport.write_eof()

    def can_write_eof(self) -> bool:
        """Return whether the end can be sent without closing, which TLS cannot."""
        return self._transport.can_write_eof()

    def abort(self) -> None:
        """Close it at once."""
        self._take_head()
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are still to be sent."""
        return self._transport.get_write_buffer_size() + len(self._head)

    def is_closing(self) -> bool:
        """Return whether it is closed, or will be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Receive no more."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)
