"""A request that an edge owns, and the rules by which it takes or drops the frames of its attempts. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sage.inference.v1 import frame_pb2, request_pb2
from sage_common.errors import EngineFailedError, SageError
from sage_control_plane.request.request import Attempt, Endpoint
from sage_mesh.edge.answer_stream import MAX_UNREAD_BYTES, MAX_WHOLE_BYTES, AnswerStream, RecordBudget, StreamRecord
from sage_mesh.edge.continuation import ContinuationPlan
from sage_mesh.edge.hedged_pair import HedgedPair
from sage_mesh.edge.outcome import Outcome, answer_not_read, stream_interrupted, unread
from sage_mesh.edge.partial_answer import NotResumableError, PartialAnswer
from sage_mesh.edge.request_span import UNRECORDED, UnrecordedRequest
from sage_mesh.edge.rest_of_answer import plan_rest
from sage_mesh.edge.whole_answer import WholeAnswer
from sage_mesh.engine import DeliveredTokens
from sage_mesh.reply import LOW_WATER_BYTES, NO_USAGE, Media, Reply, ReplyHead, TokenUsage
from sage_mesh.wire.errors import error_from_wire
from sage_mesh.wire.frames import head_from_wire, usage_from_wire
from sage_mesh.wire.requests import attempt_from_wire, id_fields, set_delivered_tokens

# How often an edge starts a request over by itself; the scheduler's own retries and interruptions do not count here.
MAX_SUBMISSIONS = 3


@dataclass(slots=True)
class EdgeRequest:
    """One request from its acceptance to its last frame. Times are seconds of the edge's clock.

    Attributes:
        sent: what was submitted last; submitted again, with changes, where an attempt breaks.
        reply: the answer as the consumer reads it.
        accepted_at: when the edge took it.
        deadline: when it ends with 504.
        heard_at: when the last frame of it, or the scheduler's notice that it holds it, arrived.
        budget: room for the record of a resumable stream.
        whole: takes the stream that becomes one document; None where the consumer gets what comes.
        span: tells what becomes of it.
        attempt, next_seq: the attempt whose frames are taken, and the number of its next one.
        engine_id: the engine that answers; None until an answer has begun.
        sent_again: whether it was submitted again and nothing has come of that so far.
        asked_at: when the schedulers were asked for it, without an answer so far; None where they were not.
        unheld_since: when the schedulers were first asked without an answer; None where one holds it.
        missing_heartbeats: heartbeats in a row of its engine that did not list it.
        received_bytes: data of that attempt's frames so far.
        acknowledged_bytes: how many of them its executor was last told of.
        failure: why the attempt is broken, after a frame that broke it.
    """

    sent: request_pb2.InferenceRequest
    reply: Reply
    accepted_at: float
    deadline: float
    heard_at: float
    budget: RecordBudget = field(default_factory=RecordBudget)
    whole: WholeAnswer | None = None
    span: UnrecordedRequest = UNRECORDED
    attempt: Attempt = Attempt(0, 0)
    next_seq: int = 0
    engine_id: str | None = None
    sent_again: bool = False
    asked_at: float | None = None
    unheld_since: float | None = None
    missing_heartbeats: int = 0
    received_bytes: int = 0
    acknowledged_bytes: int = 0
    failure: SageError = EngineFailedError("the attempt failed")
    # As the caller sent it; that of ``sent`` is replaced by what a continuation asks for.
    _body: bytes = field(init=False)
    _stream: AnswerStream | None = None
    # What the engine had counted where the attempt broke off; zeros where it did not say.
    _counted: TokenUsage = NO_USAGE
    _hedged: HedgedPair = field(default_factory=HedgedPair)
    _interruptions: int = 0
    # Dispatches of earlier submissions, and of this one so far as its edge has heard.
    _tries_before: int = 0
    _tries: int = 0

    def __post_init__(self) -> None:
        self._body = self.sent.body

    @property
    def request_id(self) -> str:
        """The mesh's key of the request, which no other has."""
        return self.sent.request_id

    @property
    def log_fields(self) -> dict[str, str | None]:
        """The ids that a log line about the request carries."""
        return id_fields(self.sent)

    @property
    def may_start_over(self) -> bool:
        """Whether no byte of the attempt has reached the consumer and submissions are left."""
        return not self.reply.delivered and self._submissions_left

    @property
    def _submissions_left(self) -> bool:
        return self.sent.submission - self._interruptions < MAX_SUBMISSIONS

    def continue_stream(self) -> bool:
        """Prepare a submission that continues the broken stream; return whether the answer is complete without one.

        Raises:
            NotResumableError: it cannot be continued; the message says why.
        """
        delivered, plan = self._plan()
        if self.whole is not None:
            raise NotResumableError("its answer comes in one piece")
        if plan.body and not self._submissions_left:
            raise NotResumableError(f"it was submitted {MAX_SUBMISSIONS} times")
        if plan.events:
            self.reply.feed(plan.events)
        if not plan.body:
            self.reply.end(delivered.usage or NO_USAGE)
            return True
        self._go_on(delivered, plan, plan.body)
        return False

    def interrupt(self, attempt: Attempt, tries: int, most_bytes: int) -> bool:
        """Prepare a submission of what is left of the request, because its attempt is to give its seat away.

        Args:
            tries: dispatches of the present submission.
            most_bytes: largest body that may be sent.

        Returns:
            Whether that was done. It is not where the attempt is another than the present one, where the answer cannot
            be continued, and where nothing but its end is missing.
        """
        begun = self.engine_id is not None
        if attempt.submission != self.sent.submission or (begun and attempt != self.attempt):
            return False
        if begun:
            try:
                delivered, plan = self._plan()
            except NotResumableError:
                return False
            if plan.body is None or plan.complete or len(plan.body) > most_bytes:
                return False
            self._go_on(delivered, plan, plan.body)
        self._interruptions += 1
        self._tries = max(self._tries, tries)
        self._supersede()
        self.sent.interrupted = True
        return True

    def _plan(self) -> tuple[PartialAnswer, ContinuationPlan]:
        return plan_rest(Endpoint(self.sent.endpoint), self._body, self._stream, self._counted)

    def _go_on(self, delivered: PartialAnswer, plan: ContinuationPlan, body: bytes) -> None:
        assert self._stream is not None
        ids = self._stream.record.tokens()
        self._stream.continue_with(plan.events, plan.continuation)
        self.reply.keep()
        if self.whole is not None:
            self.whole.keep()
        self.sent.body = body
        self.sent.delivered_tokens = delivered.tokens
        set_delivered_tokens(self.sent, DeliveredTokens(ids, len(delivered.text)) if ids else None)

    def supersede(self) -> None:
        """Prepare another submission, after a failure: it avoids the engine, and frames of attempts so far are late."""
        if self.engine_id and self.engine_id not in self.sent.avoided_engines:
            self.sent.avoided_engines.append(self.engine_id)
        self._supersede()
        self.sent.interrupted = False

    def _supersede(self) -> None:
        self.sent.submission += 1
        self._tries_before, self._tries = self._tries_before + self._tries, 0
        self.attempt = Attempt(self.sent.submission, 0)
        self._begin_attempt()
        self.engine_id, self.missing_heartbeats = None, 0
        self._counted = NO_USAGE
        self._hedged = HedgedPair()

    def close(self) -> None:
        """Give back the room of its record: it has ended."""
        if self._stream is not None:
            self._stream.record.close()
        self.span.end(self.reply)

    @property
    def taken_bytes(self) -> int:
        """Those of the received bytes that no longer wait for the consumer."""
        return max(0, self.received_bytes - self.reply.unread_bytes)

    def _begin_attempt(self) -> None:
        self.next_seq = 0
        self.received_bytes = self.acknowledged_bytes = 0
        self.reply.restart()
        if self.whole is not None:
            self.whole.restart()
        if self._stream is not None:
            self._stream.restart()

    def on_notice(self, frame: frame_pb2.Frame, now: float) -> None:
        """Take the scheduler's notice that it holds the request, or that it has dispatched a hedge."""
        self.heard_at = now
        self.sent_again = False
        self.asked_at = None
        self.unheld_since = None
        if frame.beside and frame.attempt.submission == self.sent.submission:
            self._hedged.record(attempt_from_wire(frame.attempt), frame.beside)
            self._hedged.tries = frame.head.tries

    def on_frame(self, frame: frame_pb2.Frame, now: float) -> Outcome:
        """Take one frame of an answer.

        Frames of an older attempt are dropped, and so are those of a hedge, or of the attempt that it hedges, where the
        other of the two has begun. A newer attempt replaces the present one unless bytes of that were delivered. A gap
        in the sequence means that frames were lost on the way.
        """
        number, present = frame.attempt, self.attempt
        if frame.beside or number.dispatch != present.dispatch or number.submission != present.submission:
            left_out = self._leave_out(attempt_from_wire(number), frame, now)
            if left_out is not None:
                return left_out
        seq = frame.seq
        if seq != self.next_seq:
            if seq < self.next_seq:
                return Outcome.DROPPED
            return self._broken(stream_interrupted("part of the answer was lost on the way"))
        self.next_seq = seq + 1
        self.heard_at = now
        if frame.HasField("head"):
            self._begin(head_from_wire(frame.head))
        stream = self._stream
        if stream is not None and stream.record.names_tokens and frame.token_ids:
            stream.record.add_tokens(frame.token_ids)
        data = frame.data
        if data:
            self.received_bytes += len(data)
            try:
                self._deliver((data,) if stream is None else stream.take_each(data))
            except EngineFailedError as error:
                return self._broken(error)
            # A whole answer waits for its end, a stream for who does not read.
            limit = MAX_WHOLE_BYTES if stream is None or self.whole is not None else MAX_UNREAD_BYTES
            if self.reply.unread_bytes + (0 if self.whole is None else self.whole.size) > limit:
                self.failure = answer_not_read(self.reply.unread_bytes, limit)
                return Outcome.OVERRUN
        if frame.HasField("end"):
            return self._end(frame.end)
        if stream is not None and self.received_bytes - self.acknowledged_bytes >= LOW_WATER_BYTES:
            return Outcome.TO_ACKNOWLEDGE
        return Outcome.TAKEN

    def _leave_out(self, attempt: Attempt, frame: frame_pb2.Frame, now: float) -> Outcome | None:
        """Return what becomes of a frame that is not taken; None where its attempt is the present one from now on."""
        if frame.beside and attempt.submission == self.sent.submission:
            self._hedged.record(attempt, frame.beside)
        if attempt == self.attempt:
            return None
        if attempt < self.attempt or self._hedged.holds(attempt, self.attempt):
            return unread(frame)
        if self.reply.delivered:
            # Bytes of another attempt cannot be joined to those delivered, but the word that it is over can.
            return self._end(frame.end) if frame.end.HasField("error") else unread(frame)
        if frame.end.HasField("error") and not frame.HasField("head") and self._hedged.other_may_answer(attempt):
            self.heard_at = now
            return Outcome.DROPPED
        self.attempt = attempt
        self._begin_attempt()
        return None

    def _deliver(self, pieces: Iterable[bytes]) -> None:
        take = self.reply.feed if self.whole is None or self._stream is None else self.whole.add
        for piece in pieces:
            if piece:
                take(piece)

    def _begin(self, head: ReplyHead) -> None:
        self.engine_id = head.engine_id
        if head.media is Media.EVENT_STREAM and self._stream is None:
            self._stream = AnswerStream(StreamRecord(self.budget))
        if self._stream is not None:
            self._stream.begin_attempt(head)
        self._tries = max(self._hedged.tries, head.tries)
        head = head.with_tries(self._tries_before + self._tries)
        self.span.on_head(head)
        if self.whole is None or self._stream is None:
            self.reply.begin(head)
        else:
            self.whole.head = replace(head, media=Media.JSON)

    def _end(self, end: frame_pb2.FrameEnd) -> Outcome:
        usage = usage_from_wire(end.usage)
        if self._stream is not None:
            usage = self._stream.usage(usage)
        if end.HasField("error"):
            error = error_from_wire(end.error)
            if error.retryable:
                self._counted = usage
                return self._broken(error)
            self.span.fail(error)
            self.reply.fail(error, usage if usage.completion_tokens else self.usage_so_far())
            return Outcome.ENDED
        if self._stream is not None:
            self._deliver((self._stream.rest(),))
        if self.whole is not None and self.whole.head is not None:
            try:
                self.reply.feed(self.whole.document(usage))
            except EngineFailedError as error:
                return self._broken(error)
            self.reply.begin(self.whole.head)
        self.reply.end(usage)
        return Outcome.ENDED

    def usage_so_far(self) -> TokenUsage:
        """Return what an answer has taken whose engine does not come to count it."""
        return NO_USAGE if self._stream is None else self._stream.usage_so_far(self.received_bytes)

    def _broken(self, error: SageError) -> Outcome:
        self.failure = error
        return Outcome.BROKEN
