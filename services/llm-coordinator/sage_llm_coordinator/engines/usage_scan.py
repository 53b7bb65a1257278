"""Token usage and completeness of a streamed answer, from its last bytes alone: the stream itself is never parsed."""

from __future__ import annotations

import re

import orjson

from sage_mesh.reply import TokenUsage
from sage_mesh.sse import read_usage

# The usage chunk and [DONE] come last; engines put at most a few fields beside the usage.
TAIL_BYTES = 4096

# Inside a JSON string the quotes are written \", so this is a key. A usage object holds objects one level deep.
_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')
_DONE = re.compile(rb"^data: ?\[DONE\]", re.MULTILINE)


class StreamTail:
    """Keeps the last bytes of a stream."""

    def __init__(self) -> None:
        self._tail = b""

    def take(self, piece: bytes) -> None:
        """Pass over the next bytes."""
        self._tail = piece[-TAIL_BYTES:] if len(piece) >= TAIL_BYTES else (self._tail + piece)[-TAIL_BYTES:]

    @property
    def done(self) -> bool:
        """Whether the stream has ended as the protocol says: with ``data: [DONE]``."""
        return _DONE.search(self._tail) is not None

    def usage(self) -> TokenUsage:
        """The last usage in the tail; zeros where the engine told none."""
        found = _USAGE.findall(self._tail)
        for candidate in reversed(found):
            try:
                usage = read_usage(orjson.loads(candidate))
            except orjson.JSONDecodeError:
                continue
            if usage is not None:
                return usage
        return TokenUsage()
