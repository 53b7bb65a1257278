"""The streams that a server sends now, and which of them it has stopped sending without ending them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# Health checks in a row that were not answered, and during which a stream brought nothing, after which it is given up.
MISSED_CHECKS: Final = 3


class OpenStream:
    """One stream.

    Args:
        close: closes its connection, so that whoever reads from it gets an error.

    Attributes:
        pieces: how many have come; maintained by the reader.
        paused: whether nothing is read because the caller does not keep up.
        given_up: whether it has been closed because the server is silent.
    """

    __slots__ = ("_close", "_missed", "_seen", "given_up", "paused", "pieces")

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self.pieces = 0
        self.paused = False
        self.given_up = False
        self._seen = 0
        self._missed = 0

    def on_missed_check(self, *, first: bool) -> None:
        """Note that a health check was not answered; ``first`` of those in a row."""
        silent = self.pieces == self._seen and not self.paused
        self._seen = self.pieces
        # Whether it was silent before the first of them nobody has looked.
        self._missed = self._missed + 1 if silent and not first else 1
        if self._missed >= MISSED_CHECKS:
            self.given_up = True
            self._close()


class OpenStreams:
    """The streams of one server.

    A process that was stopped, or hangs, keeps its connections open. What it has begun to send is given up when neither
    that nor its health brings a byte: either alone may come of much work.
    """

    def __init__(self) -> None:
        self._streams: set[OpenStream] = set()

    def add(self, stream: OpenStream) -> None:
        """Take a stream in."""
        self._streams.add(stream)

    def remove(self, stream: OpenStream) -> None:
        """Let go of a stream that has ended."""
        self._streams.discard(stream)

    def on_missed_check(self, missed: int) -> None:
        """Note that the server's health was asked in vain, for the ``missed``-th time in a row."""
        for stream in tuple(self._streams):
            stream.on_missed_check(first=missed == 1)
