"""A request that an edge owns, and the rules by which frames are taken or dropped. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto

from sage.inference.v1 import frame_pb2, request_pb2
from sage_common.errors import EngineFailedError, SageError
from sage_control_plane.request.request import Attempt, Endpoint
from sage_mesh.edge.answer_stream import AnswerStream, RecordBudget, StreamRecord
from sage_mesh.edge.continuation import continuation
from sage_mesh.edge.partial_answer import NotResumableError, read_told
from sage_mesh.reply import Media, Reply, ReplyHead, TokenUsage
from sage_mesh.wire.errors import error_from_wire
from sage_mesh.wire.frames import head_from_wire, usage_from_wire
from sage_mesh.wire.requests import attempt_from_wire


class HedgedPair:
    """What an edge knows of them. Whichever's first byte comes first is the answer; an error of one is not.

    Attributes:
        tries: dispatches that the request has had, as far as the scheduler said so with a hedge.
    """

    __slots__ = ("_failed", "_pair", "tries")

    def __init__(self) -> None:
        self._pair: tuple[Attempt, Attempt] | None = None
        self._failed: Attempt | None = None
        self.tries = 0

    def meet(self, hedge: Attempt, beside: int) -> None:
        """A hedge runs beside the dispatch of this number."""
        pair = (Attempt(hedge.submission, beside), hedge)
        if pair != self._pair:
            self._pair = pair
            self._failed = None

    def are(self, one: Attempt, other: Attempt) -> bool:
        """Whether the two run beside each other."""
        return self._pair is not None and one != other and one in self._pair and other in self._pair

    def awaited_after(self, failed: Attempt) -> bool:
        """An attempt failed before its first byte: return whether the other may answer yet.

        It may until it has failed here too; of any other end the scheduler tells.
        """
        if self._pair is None or failed not in self._pair:
            return False
        if self._failed is not None and self._failed != failed:
            return False
        self._failed = failed
        return True


# How often an edge starts a request over by itself; the scheduler's own retries do not count here.
MAX_SUBMISSIONS = 3


def stream_interrupted(reason: str) -> EngineFailedError:
    """The error for an answer of which a part is missing."""
    return EngineFailedError(f"{reason}; send the request again", code="stream_interrupted")


class Outcome(Enum):
    """What a frame did. An unwanted one comes of an attempt that is not read and may be stopped."""

    TAKEN = auto()
    DROPPED = auto()
    UNWANTED = auto()
    ENDED = auto()
    BROKEN = auto()


@dataclass(slots=True)
class InFlight:
    """One owned request.

    Attributes:
        message: the request as it was sent; submitted again when need be.
        accepted_at, deadline: seconds of the edge's clock.
        attempt: the attempt whose frames are being taken.
        heard_at: when the last frame, or the scheduler's word that it holds the request, arrived.
        asked_at: when the schedulers were last asked for it.
        missing_heartbeats: heartbeats in a row of its engine that did not list it.
        budget: room for the record of a resumable stream.
        failure: why the attempt is broken, after a frame that broke it.
    """

    message: request_pb2.InferenceRequest
    reply: Reply
    accepted_at: float
    deadline: float
    heard_at: float
    budget: RecordBudget = field(default_factory=RecordBudget)
    attempt: Attempt = field(default_factory=lambda: Attempt(0, 0))
    next_seq: int = 0
    engine_id: str = ""
    asked_at: float = 0.0
    missing_heartbeats: int = 0
    unheld_since: float | None = None
    failure: SageError = field(default_factory=lambda: EngineFailedError("the attempt failed"))
    _body: bytes = field(init=False)
    _stream: AnswerStream | None = None
    # What the engine had counted where the attempt broke off; zeros where it did not say.
    _counted: TokenUsage = field(default_factory=TokenUsage)
    _twins: HedgedPair = field(default_factory=HedgedPair)

    def __post_init__(self) -> None:
        # The message's own is replaced by what a continuation asks for.
        self._body = self.message.body

    @property
    def may_start_over(self) -> bool:
        """Whether nothing of the attempt has reached the consumer and submissions are left."""
        return not self.reply.delivered and self.message.submission < MAX_SUBMISSIONS

    def go_on(self) -> bool:
        """Make ready for a submission that continues the broken stream; return whether it is complete without one.

        Raises:
            NotResumableError: it cannot be continued; the message says why.
        """
        stream = self._stream
        if stream is None or not stream.record.complete:
            raise NotResumableError("it is not resumable")
        told = read_told(stream.record.events())
        if self._counted.completion_tokens and told.usage is None:
            # The engine's own count, up to where it broke off, is better than one made from the text.
            told.tokens, told.usage = self._counted.completion_tokens, self._counted
        ids = stream.record.tokens()
        if ids:
            told.tokens = len(ids) + told.end_tokens
        plan = continuation(Endpoint(self.message.endpoint), self._body, told)
        if plan.body and self.message.submission >= MAX_SUBMISSIONS:
            raise NotResumableError(f"it was submitted {MAX_SUBMISSIONS} times")
        if plan.events:
            self.reply.feed(plan.events)
        if not plan.body:
            self.reply.end(told.usage or TokenUsage())
            return True
        stream.join(plan.events, plan.splice)
        self.reply.keep()
        self.message.body = plan.body
        self.message.ClearField("told")
        if ids:
            self.message.told.ids.extend(ids)
            self.message.told.characters = len(told.text)
        return False

    def supersede(self) -> None:
        """Make ready for another submission: frames of all attempts so far are late from now on."""
        if self.engine_id and self.engine_id not in self.message.avoided_engines:
            self.message.avoided_engines.append(self.engine_id)
        self.message.submission += 1
        self.attempt = Attempt(self.message.submission, 0)
        self.next_seq = 0
        self.engine_id = ""
        self.missing_heartbeats = 0
        self._counted = TokenUsage()
        self._twins = HedgedPair()
        self._restart()

    def close(self) -> None:
        """It has ended: give back what it holds."""
        if self._stream is not None:
            self._stream.record.close()

    def _restart(self) -> None:
        self.reply.restart()
        if self._stream is not None:
            self._stream.restart()

    def on_frame(self, frame: frame_pb2.Frame, now: float) -> None:
        """The scheduler says that it holds the request, or that it has sent a hedge."""
        self.heard_at = now
        self.asked_at = 0.0
        self.unheld_since = None
        if frame.beside and frame.attempt.submission == self.message.submission:
            self._twins.meet(attempt_from_wire(frame.attempt), frame.beside)
            self._twins.tries = frame.head.tries

    def take(self, frame: frame_pb2.Frame, now: float) -> Outcome:
        """Apply one frame.

        Frames of an older attempt are dropped, and of a twin of the one that began; a newer attempt replaces the
        present one unless bytes of it were delivered already. A gap in the sequence means that frames were lost on the
        way.
        """
        attempt = attempt_from_wire(frame.attempt)
        if frame.beside and attempt.submission == self.message.submission:
            self._twins.meet(attempt, frame.beside)
        if attempt != self.attempt:
            if attempt < self.attempt or self._twins.are(attempt, self.attempt):
                return _unread(frame)
            if self.reply.delivered:
                # Bytes of another attempt cannot be joined to those delivered, but the word that it is over can.
                return self._end(frame.end) if frame.end.HasField("error") else _unread(frame)
            if frame.end.HasField("error") and not frame.HasField("head") and self._twins.awaited_after(attempt):
                self.heard_at = now
                return Outcome.DROPPED
            self.attempt = attempt
            self.next_seq = 0
            self._restart()
        if frame.seq != self.next_seq:
            if frame.seq < self.next_seq:
                return Outcome.DROPPED
            return self._broken(stream_interrupted("part of the answer was lost on the way"))
        self.next_seq += 1
        self.heard_at = now
        if frame.HasField("head"):
            self._begin(head_from_wire(frame.head))
        if frame.token_ids and self._stream is not None:
            self._stream.record.add_tokens(frame.token_ids)
        if frame.data:
            self._feed(frame.data)
        if frame.HasField("end"):
            return self._end(frame.end)
        return Outcome.TAKEN

    def _feed(self, data: bytes) -> None:
        if self._stream is not None:
            data = self._stream.take(data)
        if data:
            self.reply.feed(data)

    def _begin(self, head: ReplyHead) -> None:
        self.engine_id = head.engine_id
        if head.media is Media.EVENT_STREAM and self._stream is None:
            self._stream = AnswerStream(StreamRecord(self.budget))
        if self._stream is not None and not head.resumable:
            self._stream.record.close()
        elif self._stream is not None:
            self._stream.record.follow_tokens(told=head.tells_tokens)
        if self._twins.tries > head.tries:
            head = replace(head, tries=self._twins.tries)
        self.reply.begin(head)

    def _end(self, end: frame_pb2.FrameEnd) -> Outcome:
        if end.HasField("error"):
            error = error_from_wire(end.error)
            if error.retryable:
                self._counted = self._usage(end)
                return self._broken(error)
            self.reply.fail(error)
            return Outcome.ENDED
        usage = self._usage(end)
        if self._stream is not None and (rest := self._stream.rest()):
            self.reply.feed(rest)
        self.reply.end(usage)
        return Outcome.ENDED

    def _usage(self, end: frame_pb2.FrameEnd) -> TokenUsage:
        """The usage of the whole answer, as far as the attempt's engine told it."""
        usage = usage_from_wire(end.usage)
        return usage if self._stream is None else self._stream.usage(usage)

    def _broken(self, error: SageError) -> Outcome:
        self.failure = error
        return Outcome.BROKEN


def _unread(frame: frame_pb2.Frame) -> Outcome:
    """The outcome for a frame of an attempt that is not read: it is stopped when it begins, if it is not over."""
    return Outcome.UNWANTED if frame.HasField("head") and not frame.HasField("end") else Outcome.DROPPED
