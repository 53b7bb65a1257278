"""An event stream between its engine and its consumer, recorded while another engine could continue it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress

from sage_mesh.edge.continuation import StreamContinuation
from sage_mesh.edge.partial_answer import NotResumableError, read_partial_answer
from sage_mesh.reply import ReplyHead, TokenUsage
from sage_mesh.sse import SseFramer

# A token's event, about.
EVENT_BYTES = 200
# 10,000 tokens. A longer answer is not continued when its engine dies.
MAX_STREAM_BYTES = 2 * 1024 * 1024
# All streams of an edge together; when it is used up, further events make their own stream one that is not continued.
MAX_EDGE_BYTES = 256 * 1024 * 1024
# What may wait for a consumer that does not read, of a stream and of an answer in one piece.
MAX_UNREAD_BYTES = 64 * 1024 * 1024
MAX_WHOLE_BYTES = 320 * 1024 * 1024


class RecordBudget:
    """Bytes that the records of one edge may hold together: of events, and of tokens."""

    __slots__ = ("_limit", "used")

    def __init__(self, limit_bytes: int = MAX_EDGE_BYTES) -> None:
        self._limit = limit_bytes
        self.used = 0

    def take(self, count: int) -> bool:
        """Take ``count`` bytes; return whether that many were left."""
        if self.used + count > self._limit:
            return False
        self.used += count
        return True

    def give_back(self, count: int) -> None:
        """Give ``count`` bytes back."""
        self.used -= count


class StreamRecord:
    """The whole events of one stream, in order, and their tokens.

    Once a bound is passed, everything is forgotten; where only the tokens do not fit, they alone are, since text is
    enough to continue a stream. What came before ``keep`` stays; what came after it is forgotten by ``rewind``.

    Attributes:
        complete: whether it holds everything that was added.
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
        self.complete = True

    def add(self, events: bytes) -> None:
        """Record what the consumer gets."""
        if not self.complete:
            return
        if self._bytes + len(events) > self._limit or not self._budget.take(len(events)):
            self.close()
            return
        self._bytes += len(events)
        self._pieces.append(events)

    def begin_attempt(self, *, names_tokens: bool) -> None:
        """Take in that an attempt begins, and whether its engine names the tokens of the text."""
        if not names_tokens:
            self._forget_tokens()
        elif self._tokens is None and not self._pieces:
            self._tokens = array("I")

    @property
    def names_tokens(self) -> bool:
        """Whether the tokens of the text are recorded."""
        return self._tokens is not None

    def add_tokens(self, ids: Sequence[int]) -> None:
        """Record tokens of the text."""
        if self._tokens is None or not self.complete:
            return
        if self._budget.take(len(ids) * self._tokens.itemsize):
            self._tokens.extend(ids)
        else:
            self._forget_tokens()

    def tokens(self) -> tuple[int, ...]:
        """Return every token of the recorded text; none where not all of them are known."""
        return tuple(self._tokens or ())

    def keep(self) -> None:
        """Keep what is recorded, whatever becomes of the attempt that follows."""
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
        """Return everything recorded."""
        return b"".join(self._pieces)

    def close(self) -> None:
        """Forget everything, give the bytes back, and record nothing from now on."""
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
    """Cuts a stream at its events, joins it to what an earlier engine sent, and records it while it is resumable."""

    __slots__ = ("_continuation", "_framer", "record")

    def __init__(self, record: StreamRecord) -> None:
        self.record = record
        self._framer = SseFramer()
        self._continuation: StreamContinuation | None = None

    def begin_attempt(self, head: ReplyHead) -> None:
        """Record what follows while another engine could go on with it."""
        if head.resumable:
            self.record.begin_attempt(names_tokens=head.tells_tokens)
        else:
            self.record.close()

    def take(self, data: bytes) -> bytes:
        """Take bytes as they come; return what the consumer gets. Raises EngineFailedError for an endless event."""
        return b"".join(self.take_each(data))

    def take_each(self, data: bytes) -> list[bytes]:
        """As ``take``, in several pieces where that is large."""
        pieces = self._framer.feed_each(data)
        if self._continuation is not None:
            pieces = [self._continuation.take(piece) for piece in pieces]
        for piece in pieces:
            self.record.add(piece)
        return pieces

    def rest(self) -> bytes:
        """Return what is left for the consumer at the end of a stream that ended well."""
        rest = self._framer.rest()
        return self._continuation.take(rest + b"\n\n") if rest and self._continuation is not None else rest

    def usage(self, usage: TokenUsage) -> TokenUsage:
        """Return the usage of the whole answer, from that of the last engine."""
        return usage if self._continuation is None else self._continuation.usage(usage)

    def usage_so_far(self, received_bytes: int) -> TokenUsage:
        """Return the tokens of what was recorded; where the record is closed, as many as so many bytes may be."""
        tokens = received_bytes // EVENT_BYTES
        if self.record.complete:
            with suppress(NotResumableError):
                tokens = read_partial_answer(self.record.events()).tokens
        return TokenUsage(completion_tokens=tokens)

    def continue_with(self, events: bytes, continuation: StreamContinuation) -> None:
        """Keep what was taken so far, and ``events``; what comes next is another engine's continuation of it."""
        self.record.add(events)
        self.record.keep()
        self._framer = SseFramer()
        self._continuation = continuation

    def restart(self) -> None:
        """Forget what came since the last ``continue_with``: it was not delivered and comes again."""
        self.record.rewind()
        self._framer = SseFramer()
        if self._continuation is not None:
            self._continuation = self._continuation.restarted()
