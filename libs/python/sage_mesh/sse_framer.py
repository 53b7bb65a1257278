"""Keeping a passed-through event stream cut at events, so that it can break off at any time."""

from __future__ import annotations

_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class SseFramer:
    """Lets whole events through and holds back the start of an unfinished one.

    No client can act on half an event, so this delays nothing; and where an engine dies in the middle of one, neither
    an error event nor the continuation of another engine is glued to its torn half.
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
