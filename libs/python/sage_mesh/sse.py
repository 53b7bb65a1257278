"""Reading ``text/event-stream`` as it arrives: as events, or as bytes cut at events.

Source: WHATWG HTML Living Standard, "Server-sent events", §9.2.6, interpreting an event stream. Pieces may be cut at
any byte: inside a character, between CR and LF, inside a field name.
"""

from __future__ import annotations

from typing import NamedTuple

# What ends a stream of OpenAI's API: the data of its last event, and that event.
DONE = "[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One event: its data, lines joined by ``\\n``, and its type."""

    data: str
    event: str = "message"


class SseParser:
    """Turns pieces of a stream into events. An event that the stream's end cuts short is dropped."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at_start = True
        self._skip_line_feed = False
        self._data: list[str] = []
        self._event = ""

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Take the next bytes and return the events that they complete."""
        if not piece:
            return []  # an empty piece between a CR and its LF is not the byte that follows the CR
        buffer = self._buffer + piece
        if self._at_start:
            if len(buffer) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(buffer):
                self._buffer = buffer
                return []
            buffer = buffer.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        if self._skip_line_feed and buffer:
            buffer = buffer.removeprefix(b"\n")
            self._skip_line_feed = False
        # A CR ends its line at once, so that an event is not held back until the next bytes; the LF that may follow
        # it belongs to the same line end.
        self._skip_line_feed = buffer.endswith(b"\r")
        lines = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._buffer = lines.pop()
        events: list[SseEvent] = []
        for line in lines:
            self._take_line(line, events)
        return events

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


class SseFramer:
    """Passes whole events on and holds back the start of an unfinished one.

    No client can act on half an event, so this delays nothing. Where an engine dies in the middle of one, neither an
    error event nor the continuation of another engine follows its torn half.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and return what is whole."""
        data = self._held + piece if self._held else piece
        if data.endswith(_ENDS):
            self._held = b""
            return data
        cut = max(data.rfind(end) + len(end) if end in data else 0 for end in _ENDS)
        self._held = data[cut:]
        return data[:cut]

    def rest(self) -> bytes:
        """Return what is held back, for a stream that ended well."""
        held, self._held = self._held, b""
        return held
