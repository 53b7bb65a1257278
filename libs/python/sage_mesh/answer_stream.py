"""An event stream between the engine that sends it and the consumer that reads it."""

from __future__ import annotations

from sage_mesh.reply import TokenUsage
from sage_mesh.sse_framer import SseFramer
from sage_mesh.stream_continuation import StreamContinuation
from sage_mesh.stream_record import StreamRecord


class AnswerStream:
    """Cuts a stream at its events, joins it to what an earlier engine said, and records it while it is resumable."""

    __slots__ = ("_splice", "_whole", "record")

    def __init__(self, record: StreamRecord) -> None:
        self.record = record
        self._whole = SseFramer()
        self._splice: StreamContinuation | None = None

    def take(self, data: bytes) -> bytes:
        """Take bytes as they come; return what the consumer is to be given."""
        events = self._whole.feed(data)
        if events and self._splice is not None:
            events = self._splice.take(events)
        if events:
            self.record.add(events)
        return events

    def rest(self) -> bytes:
        """Return what is left at the end of a stream that ended well."""
        rest = self._whole.rest()
        return self._splice.take(rest + b"\n\n") if rest and self._splice is not None else rest

    def usage(self, usage: TokenUsage) -> TokenUsage:
        """The usage of the whole answer, from what the last engine says."""
        return usage if self._splice is None else self._splice.usage(usage)

    def join(self, events: bytes, splice: StreamContinuation) -> None:
        """What was taken so far stays, and ``events`` too; next comes another engine's continuation of it."""
        self.record.add(events)
        self.record.keep()
        self._whole = SseFramer()
        self._splice = splice

    def restart(self) -> None:
        """What came since the last ``join`` was not delivered and comes again."""
        self.record.rewind()
        self._whole = SseFramer()
        if self._splice is not None:
            self._splice = self._splice.anew()
