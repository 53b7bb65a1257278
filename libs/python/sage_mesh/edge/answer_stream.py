"""An event stream between its engine and its consumer, recorded while another engine could continue it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from sage_mesh.edge.continuation import StreamContinuation
from sage_mesh.reply import TokenUsage
from sage_mesh.sse import SseFramer

# A token's event is about 200 bytes: 10,000 tokens. A longer answer is not continued when its engine dies.
MAX_STREAM_BYTES = 2 * 1024 * 1024
# All streams of an edge together; when it is used up, further events make their own stream one that is not continued.
MAX_EDGE_BYTES = 256 * 1024 * 1024


class RecordBudget:
    """Bytes that the records of one edge may hold together: of events, and of tokens."""

    __slots__ = ("_limit", "used")

    def __init__(self, limit_bytes: int = MAX_EDGE_BYTES) -> None:
        self._limit = limit_bytes
        self.used = 0

    def take(self, count: int) -> bool:
        """Take ``count`` bytes; return whether they were there."""
        if self.used + count > self._limit:
            return False
        self.used += count
        return True

    def give_back(self, count: int) -> None:
        """Give bytes back."""
        self.used -= count


class StreamRecord:
    """The whole events of one stream, in order, and their tokens.

    It forgets everything once a bound is passed, and the tokens alone where there is no room for them: text will do.

    What came before ``keep`` stays; what came after it is forgotten by ``rewind``.
    """

    __slots__ = ("_budget", "_bytes", "_kept", "_kept_tokens", "_limit", "_pieces", "_tokens", "complete")

    def __init__(self, budget: RecordBudget, limit_bytes: int = MAX_STREAM_BYTES) -> None:
        self._budget = budget
        self._limit = limit_bytes
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._kept = 0
        # None where the engine does not name them.
        self._tokens: array[int] | None = None
        self._kept_tokens = 0
        # Whether it holds everything that was added.
        self.complete = True

    def add(self, events: bytes) -> None:
        """Record what the consumer is given."""
        if not self.complete:
            return
        if self._bytes + len(events) > self._limit or not self._budget.take(len(events)):
            self.close()
            return
        self._bytes += len(events)
        self._pieces.append(events)

    def follow_tokens(self, *, told: bool) -> None:
        """Another attempt begins: its engine names the tokens of the text, or does not."""
        if not told:
            self._forget_tokens()
        elif self._tokens is None and not self._pieces:
            self._tokens = array("I")

    def add_tokens(self, ids: Sequence[int]) -> None:
        """Record tokens of the text."""
        if self._tokens is None or not self.complete:
            return
        if self._budget.take(len(ids) * self._tokens.itemsize):
            self._tokens.extend(ids)
        else:
            self._forget_tokens()

    def tokens(self) -> tuple[int, ...]:
        """Every token of the text recorded; none where not all of them are known."""
        return tuple(self._tokens or ())

    def keep(self) -> None:
        """What is recorded stays, whatever becomes of the attempt that follows."""
        self._kept = len(self._pieces)
        self._kept_tokens = len(self._tokens or ())

    def rewind(self) -> None:
        """Forget what came since ``keep``: it was not delivered."""
        undone = sum(map(len, self._pieces[self._kept :]))
        del self._pieces[self._kept :]
        self._bytes -= undone
        self._budget.give_back(undone)
        if self._tokens is not None:
            self._drop_tokens(self._tokens, self._kept_tokens)

    def events(self) -> bytes:
        """Everything recorded."""
        return b"".join(self._pieces)

    def close(self) -> None:
        """Give the bytes back; nothing is recorded any more."""
        self.complete = False
        self._budget.give_back(self._bytes)
        self._pieces.clear()
        self._forget_tokens()
        self._bytes = 0
        self._kept = 0

    def _forget_tokens(self) -> None:
        if self._tokens is not None:
            self._drop_tokens(self._tokens, 0)
        self._tokens = None
        self._kept_tokens = 0

    def _drop_tokens(self, tokens: array[int], kept: int) -> None:
        self._budget.give_back((len(tokens) - kept) * tokens.itemsize)
        del tokens[kept:]


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
