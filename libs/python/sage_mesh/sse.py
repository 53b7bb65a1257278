"""Reading ``text/event-stream`` as it arrives: as events, or as bytes cut at events.

Source: WHATWG HTML Living Standard, "Server-sent events", §9.2.6, interpreting an event stream. Pieces may be cut at
any byte: inside a character, between CR and LF, inside a field name.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sage_common.errors import EngineFailedError

# What ends a stream of OpenAI's API: the data of its last event, and that event.
DONE = "[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# An event, or a line, that does not end grows up to here. The largest that are of use hold an image or a sound.
MAX_EVENT_BYTES: Final = 32 * 1024 * 1024


class SseEvent(NamedTuple):
    """One event: its data, lines joined by ``\\n``, and its type."""

    data: str
    event: str = "message"


def event_too_large(limit_bytes: int) -> EngineFailedError:
    """Return the error for an event that does not end within ``limit_bytes``."""
    return EngineFailedError(
        f"an event of the stream has not ended after {limit_bytes} bytes", code="event_too_large", retryable=True
    )


class SseParser:
    """Turns pieces of a stream into events. An event that the stream's end cuts short is dropped.

    Args:
        limit_bytes: longest line.
    """

    def __init__(self, limit_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit_bytes
        # The pieces of a line that has not ended; they are joined once, when it has.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._at_start = True
        self._skip_line_feed = False
        self._data: list[str] = []
        self._event = ""

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Take the next bytes and return the events that they complete.

        Raises:
            EngineFailedError: a line is over the limit.
        """
        if not piece:
            return []  # an empty piece between a CR and its LF is not the byte that follows the CR
        if self._skip_line_feed:
            piece = piece.removeprefix(b"\n")
            self._skip_line_feed = False
        if b"\n" not in piece and b"\r" not in piece:
            self._hold(piece)
            return []
        buffer = b"".join((*self._held, piece))
        self._held, self._held_bytes = [], 0
        if self._at_start:
            buffer = buffer.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        # A CR ends its line at once, so that an event is not held back until the next bytes; the LF that may follow
        # it belongs to the same line end.
        self._skip_line_feed = buffer.endswith(b"\r")
        lines = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._hold(lines.pop())
        events: list[SseEvent] = []
        for line in lines:
            self._take_line(line, events)
        return events

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > self._limit:
            raise event_too_large(self._limit)

    def _take_line(self, line: bytes, events: list[SseEvent]) -> None:
        if not line:
            if self._data:
                events.append(SseEvent("\n".join(self._data), self._event or "message"))
            self._data = []
            self._event = ""
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value.decode("utf-8", "replace"))
        elif field == b"event":
            self._event = value.decode("utf-8", "replace")


_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
# Of the longest of them, what may lie in the piece before.
_OVERLAP = 3
# Pieces of an event larger than this are handed on as they are: a copy of megabytes holds up every other stream.
LARGE_EVENT_BYTES: Final = 1024 * 1024


class SseFramer:
    """Passes whole events on and holds back the start of an unfinished one.

    No client can act on half an event, so this delays nothing. Where an engine dies in the middle of one, neither an
    error event nor the continuation of another engine follows its torn half. Every byte is searched once, and those of
    an event are joined once.

    Args:
        limit_bytes: longest unfinished event.
    """

    __slots__ = ("_held", "_held_bytes", "_limit", "_tail")

    def __init__(self, limit_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        # The last bytes of what is held: an event's end may begin there.
        self._tail = b""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and return what is whole.

        Raises:
            EngineFailedError: an event is over the limit.
        """
        return b"".join(self.feed_each(piece))

    def feed_each(self, piece: bytes) -> list[bytes]:
        """Take the next bytes and return what is whole, as one piece; where that is large, in the pieces that came.

        Raises:
            EngineFailedError: an event is over the limit.
        """
        if not self._held and piece.endswith(_ENDS):
            return [piece]
        return self._cut(self._tail + piece, len(self._tail))

    def rest(self) -> bytes:
        """Return what is held back, for a stream that ended well."""
        rest = b"".join(self._held)
        self._clear()
        return rest

    def _cut(self, seen: bytes, before: int) -> list[bytes]:
        """Cut at the last end of an event in ``seen``, whose first ``before`` bytes are held already."""
        cut = max(at + len(end) if (at := seen.rfind(end)) >= 0 else 0 for end in _ENDS)
        # An end that lies in the held bytes alone was found when they came.
        if cut <= before:
            self._hold(seen[before:])
            return []
        whole = [*self._held, seen[before:cut]]
        if len(whole) > 1 and self._held_bytes <= LARGE_EVENT_BYTES:
            whole = [b"".join(whole)]
        self._clear()
        self._hold(seen[cut:])
        return whole

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._held.append(piece)
        self._held_bytes += len(piece)
        self._tail = (self._tail + piece[-_OVERLAP:])[-_OVERLAP:]
        if self._held_bytes > self._limit:
            raise event_too_large(self._limit)

    def _clear(self) -> None:
        self._held = []
        self._held_bytes = 0
        self._tail = b""
