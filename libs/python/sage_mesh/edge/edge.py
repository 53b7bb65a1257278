"""The edge of the ring: owns a request from acceptance until its last frame is delivered.

That one rule gives the failure story. Whatever dies on the way, the edge notices (silence of the schedulers, an
engine that no longer lists the request, a gap in the frames) and submits again, or ends the request clearly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nats.aio.subscription import Subscription

from sage.inference.v1 import engine_pb2, frame_pb2, request_pb2
from sage_common.clock import Clock
from sage_common.errors import (
    CancelledError,
    ConflictError,
    DeadlineExceededError,
    SageError,
    TooLargeError,
    UnavailableError,
)
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.classification import RequestClassifier
from sage_mesh.classification import classify_message
from sage_mesh.directory import DirectoryChange, EngineDirectory
from sage_mesh.edge.answer_stream import RecordBudget
from sage_mesh.edge.edge_request import InFlight, Outcome, stream_interrupted
from sage_mesh.edge.partial_answer import NotResumableError
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.pool_sender import PoolSender
from sage_mesh.reply import Reply
from sage_mesh.wire.requests import inference_request_to_wire
from sage_platform import subjects
from sage_platform.ring import Ring

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EdgeTimings:
    """When an edge acts on silence, in seconds.

    Attributes:
        sweep: between looks at what is in flight.
        ask_after: without a frame, the schedulers are asked whether they hold the request.
        answer_within: no answer by then and it is submitted again.
        give_up_after: nobody has held it for so long, and it fails with 503.
    """

    sweep: float = 0.25
    ask_after: float = 1.0
    answer_within: float = 0.5
    give_up_after: float = 10.0


class Edge:
    """Submits requests to the ring and owns them until they end."""

    # Three heartbeats in a row without the request: the first may have been on its way when it was dispatched.
    MISSING_HEARTBEATS: ClassVar[int] = 3

    def __init__(
        self,
        ring: Ring,
        edge_id: str,
        directory: EngineDirectory,
        classifier: RequestClassifier,
        clock: Clock,
        timings: EdgeTimings | None = None,
    ) -> None:
        self._ring = ring
        self._subject = subjects.reply(edge_id)
        self._directory = directory
        self._classifier = classifier
        self._clock = clock
        self._timings = timings or EdgeTimings()
        self._pools = PoolSender(ring, clock)
        self._in_flight: dict[str, InFlight] = {}
        self._record_budget = RecordBudget()
        self._subscription: Subscription | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """Requests owned now."""
        return len(self._in_flight)

    async def start(self) -> None:
        """Listen for frames."""
        self._ring.on_no_responders(subjects.CLASSIFY, self._classify_here)
        self._subscription = await self._ring.subscribe(self._subject, frame_pb2.FrameBatch, self._on_frames)
        self._directory.listen(self._on_directory)
        self._sweeper = asyncio.create_task(self._sweep_forever(), name="edge-sweep")

    async def close(self) -> None:
        """End what is in flight with an error and stop listening."""
        for request_id in list(self._in_flight):
            self._end(request_id, UnavailableError("this edge is stopping; send the request again", retryable=True))
        await self._pools.close()
        if self._sweeper:
            await end_tasks(self._sweeper)
        subscription, self._subscription = self._subscription, None
        if subscription:
            await subscription.unsubscribe()

    async def drained(self, timeout_seconds: float) -> bool:
        """Wait until everything in flight now has ended; return whether that came true in time."""
        replies = [held.reply for held in self._in_flight.values()]
        try:
            await asyncio.wait_for(asyncio.gather(*(reply.until_ended() for reply in replies)), timeout_seconds)
        except asyncio.TimeoutError:
            return False
        return True

    def submit(self, request: InferenceRequest) -> Reply:
        """Send a request into the mesh.

        Raises:
            TooLargeError: the body does not fit a message.
            ConflictError: a request with this id is in flight here.
        """
        now = self._clock.now()
        request_id = request.request_id
        if request_id in self._in_flight:
            raise ConflictError(
                f"a request with id {request_id!r} is in flight; ids must be unique", param="request_id"
            )
        message = inference_request_to_wire(request, self._subject)
        self._ring.send(subjects.CLASSIFY, message)
        reply = Reply(request_id, cancel=lambda reason: self._cancel(request_id, reason))
        deadline = now + request.timeout_seconds
        self._in_flight[request_id] = InFlight(message, reply, now, deadline, now, self._record_budget)
        return reply

    def _on_frames(self, frames: Sequence[frame_pb2.Frame]) -> None:
        now = self._clock.now()
        for frame in frames:
            held = self._in_flight.get(frame.request_id)
            if held is None:
                if frame.HasField("head") and not frame.HasField("end"):
                    self._tell_unwanted(frame)
                continue
            if frame.held:
                held.on_frame(frame, now)
                continue
            outcome = held.take(frame, now)
            if outcome is Outcome.ENDED:
                self._in_flight.pop(frame.request_id).close()
            elif outcome is Outcome.BROKEN:
                self._recover(held, held.failure)
            elif outcome is Outcome.UNWANTED:
                self._tell_unwanted(frame)

    def _recover(self, held: InFlight, failure: SageError) -> None:
        """The attempt is broken: start over, go on elsewhere, or end the request."""
        request_id = held.message.request_id
        try:
            if not held.may_start_over and held.go_on():
                self._in_flight.pop(request_id).close()
                self._tell_cancelled(request_id, "the answer is complete")
                return
            log.info("request submitted again", request_id=request_id, reason=failure.message)
            held.supersede()
            self._send(held)
        except NotResumableError as reason:
            log.info("stream not continued", request_id=request_id, reason=str(reason))
            self._end(request_id, failure)
        except TooLargeError as error:
            log.warning("continuation not sent", request_id=request_id, reason=error.message)
            self._end(request_id, failure)

    def _send(self, held: InFlight) -> None:
        now = self._clock.now()
        held.message.age_ms = int((now - held.accepted_at) * 1000)
        held.heard_at = now
        held.asked_at = 0.0
        self._ring.send(subjects.CLASSIFY, held.message)

    def _end(self, request_id: str, error: SageError) -> None:
        held = self._in_flight.pop(request_id, None)
        if held is not None:
            self._tell_cancelled(request_id, error.code)
            held.reply.fail(error)
            held.close()

    def _cancel(self, request_id: str, reason: str) -> None:
        self._end(request_id, CancelledError(reason))

    def _tell_cancelled(self, request_id: str, reason: str) -> None:
        self._ring.send(subjects.CANCEL, engine_pb2.Cancellation(request_id=request_id, reason=reason))

    def _tell_unwanted(self, frame: frame_pb2.Frame) -> None:
        """Stop one attempt, on its engine; another may be the answer, or the request has ended."""
        cancellation = engine_pb2.Cancellation(
            request_id=frame.request_id,
            up_to=frame.attempt,
            reason="its answer is not read",
            engine_id=frame.head.engine_id,
        )
        self._ring.send(subjects.CANCEL, cancellation)

    # What follows is the edge's watch over silence.

    def _classify_here(self, _subject: str, items: Sequence[bytes]) -> None:
        """No classifier listens: classify in this process, with the same library, and send on."""
        log.warning("no classifier listens; classifying here", requests=len(items))
        for item in items:
            message = request_pb2.InferenceRequest.FromString(item)
            try:
                classification = classify_message(self._classifier, message, self._directory.catalog)
            except SageError as error:
                self._end(message.request_id, error)
                continue
            self._pools.send(request_pb2.ClassifiedRequest(request=message, classification=classification))

    def _on_directory(self, change: DirectoryChange) -> None:
        if not self._in_flight:
            return
        for state in change.lost:
            for held in self._on_engine(state.spec.engine_id):
                self._recover(held, stream_interrupted(f"engine {state.spec.engine_id!r} is gone: {change.reason}"))
        now = self._clock.now()
        for state in change.updated:
            running = {running.request_id for running in state.running}
            for held in self._on_engine(state.spec.engine_id):
                if held.message.request_id in running or now - held.heard_at < self._timings.answer_within:
                    held.missing_heartbeats = 0
                    continue
                held.missing_heartbeats += 1
                if held.missing_heartbeats >= self.MISSING_HEARTBEATS:
                    reason = f"engine {state.spec.engine_id!r} no longer runs the request"
                    self._recover(held, stream_interrupted(reason))

    def _on_engine(self, engine_id: str) -> list[InFlight]:
        return [held for held in self._in_flight.values() if held.engine_id == engine_id]

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._timings.sweep)
            try:
                self._sweep(self._clock.now())
            except Exception:
                log.exception("edge sweep failed")

    def _sweep(self, now: float) -> None:
        timings = self._timings
        for request_id, held in list(self._in_flight.items()):
            if now >= held.deadline:
                seconds = round(held.deadline - held.accepted_at, 3)
                self._end(request_id, DeadlineExceededError(f"no complete answer within {seconds} s"))
            elif held.engine_id or now - held.heard_at < timings.ask_after:
                continue
            elif not held.asked_at:
                held.asked_at = now
                self._ring.send(
                    subjects.INQUIRE, engine_pb2.Inquiry(request_id=request_id, reply_subject=self._subject)
                )
            elif now - held.asked_at >= timings.answer_within:
                self._resubmit_unheld(request_id, held, now)

    def _resubmit_unheld(self, request_id: str, held: InFlight, now: float) -> None:
        held.unheld_since = held.unheld_since or held.asked_at
        if now - held.unheld_since >= self._timings.give_up_after:
            error = UnavailableError(
                f"no scheduler has taken the request for {self._timings.give_up_after:g} s; "
                "`sage status` shows whether one runs",
                code="no_scheduler",
                retry_after_seconds=1,
            )
            self._end(request_id, error)
            return
        self._send(held)
