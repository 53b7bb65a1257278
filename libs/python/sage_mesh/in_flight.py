"""A request that an edge owns, and the rules by which frames are taken or dropped. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from sage.inference.v1 import frame_pb2, request_pb2
from sage_control_plane.requests import Attempt
from sage_mesh.reply import Media, Reply, ReplyHead, TokenUsage
from sage_mesh.wire import error_from_wire

# How often an edge starts a request over by itself; the scheduler's own retries do not count here.
MAX_SUBMISSIONS = 3


class Outcome(Enum):
    """What a frame did."""

    TAKEN = auto()
    DROPPED = auto()
    ENDED = auto()
    START_OVER = auto()
    LOST = auto()


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
    """

    message: request_pb2.InferenceRequest
    reply: Reply
    accepted_at: float
    deadline: float
    heard_at: float
    attempt: Attempt = field(default_factory=lambda: Attempt(0, 0))
    next_seq: int = 0
    engine_id: str = ""
    asked_at: float = 0.0
    missing_heartbeats: int = 0
    unheld_since: float | None = None

    @property
    def may_start_over(self) -> bool:
        """Whether nothing has reached the consumer and submissions are left."""
        return not self.reply.delivered and self.message.submission < MAX_SUBMISSIONS

    def supersede(self) -> None:
        """Make ready for another submission: frames of all attempts so far are late from now on."""
        self.message.submission += 1
        self.attempt = Attempt(self.message.submission, 0)
        self.next_seq = 0
        self.engine_id = ""
        self.missing_heartbeats = 0
        self.reply.restart()

    def take(self, frame: frame_pb2.Frame, now: float) -> Outcome:
        """Apply one frame.

        Frames of an older attempt are dropped; a newer attempt replaces the present one unless bytes of it were
        delivered already. A gap in the sequence means that frames were lost on the way.
        """
        attempt = Attempt(frame.attempt.submission, frame.attempt.dispatch)
        if attempt != self.attempt:
            if attempt < self.attempt:
                return Outcome.DROPPED
            if self.reply.delivered:
                # Bytes of another attempt cannot be joined to those delivered, but the word that it is over can.
                return self._end(frame.end) if frame.end.HasField("error") else Outcome.DROPPED
            self.attempt = attempt
            self.next_seq = 0
            self.reply.restart()
        if frame.seq != self.next_seq:
            return Outcome.DROPPED if frame.seq < self.next_seq else self._lost()
        self.next_seq += 1
        self.heard_at = now
        if frame.HasField("head"):
            self._begin(frame.head)
        if frame.data:
            self.reply.feed(frame.data)
        if frame.HasField("end"):
            return self._end(frame.end)
        return Outcome.TAKEN

    def _begin(self, head: frame_pb2.FrameHead) -> None:
        self.engine_id = head.engine_id
        self.reply.begin(
            ReplyHead(
                media=Media(head.media or Media.JSON),
                engine_id=head.engine_id,
                queue_ms=head.queue_us / 1000,
                tries=head.tries,
                model=head.model,
                vector_count=head.vector_count,
                vector_dimensions=head.vector_dimensions,
            )
        )

    def _end(self, end: frame_pb2.FrameEnd) -> Outcome:
        if end.HasField("error"):
            error = error_from_wire(end.error)
            if error.retryable and self.may_start_over:
                return Outcome.START_OVER
            self.reply.fail(error)
            return Outcome.ENDED
        usage = end.usage
        self.reply.end(TokenUsage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens))
        return Outcome.ENDED

    def _lost(self) -> Outcome:
        return Outcome.START_OVER if self.may_start_over else Outcome.LOST
