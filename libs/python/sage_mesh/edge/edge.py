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
from sage_common.errors import DeadlineExceededError, SageError, TooLargeError, UnavailableError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.classification import RequestClassifier
from sage_mesh.classify_span import classify_traced
from sage_mesh.directory import DirectoryChange, EngineDirectory
from sage_mesh.edge.answer_stream import RecordBudget
from sage_mesh.edge.edge_request import EdgeRequest
from sage_mesh.edge.outcome import Outcome, edge_stopping, stream_interrupted
from sage_mesh.edge.partial_answer import NotResumableError
from sage_mesh.edge.request_span import open_request_span
from sage_mesh.edge.whole_answer import WholeAnswer, streamed_body
from sage_mesh.inference_request import InferenceRequest, new_request_id
from sage_mesh.pool_choice import PoolChoice
from sage_mesh.pool_sender import PoolSender
from sage_mesh.reply import LOW_WATER_BYTES, Reply
from sage_mesh.wire.requests import attempt_from_wire, attempt_to_wire, inference_request_to_wire
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.ring import Ring

log = get_logger(__name__)
NOT_READ = "its answer is not read"


@dataclass(frozen=True, slots=True)
class EdgeTimings:
    """When an edge acts on silence, in seconds.

    Attributes:
        sweep: between two checks of what is in flight.
        ask_after: without a frame for so long (a quarter of it once submitted again) the schedulers are asked for it.
        answer_within: without an answer in this time it is submitted again.
        give_up_after: a request that no scheduler has held for this long fails with 503.
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
        """Make an edge.

        Args:
            edge_id: unique among all edges; frames come to its subject.
            classifier: used while no classifier service listens.
        """
        self._ring = ring
        self._subject = subjects.reply(edge_id, ring.identity)
        self._directory = directory
        self._classifier = classifier
        self._clock = clock
        self._timings = timings or EdgeTimings()
        self._pools, self._choice = PoolSender(ring, clock), PoolChoice(directory, clock)
        self._requests: dict[str, EdgeRequest] = {}
        self._record_budget = RecordBudget()
        self._subscription: Subscription | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """Requests owned now."""
        return len(self._requests)

    async def start(self) -> None:
        """Listen for frames."""
        self._ring.on_no_responders(subjects.CLASSIFY, self._on_no_classifier)
        self._subscription = await self._ring.subscribe(self._subject, frame_pb2.FrameBatch, self._on_frames)
        self._directory.listen(self._on_directory)
        self._sweeper = keep_running(self._sweep_forever, name="edge-sweep")

    async def close(self) -> None:
        """End what is in flight with an UnavailableError and stop listening."""
        for request in list(self._requests.values()):
            self._end(request, edge_stopping())
        await self._pools.close()
        if self._sweeper:
            await end_tasks(self._sweeper)
        subscription, self._subscription = self._subscription, None
        if subscription:
            await subscription.unsubscribe()

    async def drained(self, timeout_seconds: float) -> bool:
        """Wait until everything in flight now has ended; return whether that came true in time."""
        replies = [request.reply for request in self._requests.values()]
        try:
            await asyncio.wait_for(asyncio.gather(*(reply.until_ended() for reply in replies)), timeout_seconds)
        except asyncio.TimeoutError:
            return False
        return True

    def submit(self, request: InferenceRequest) -> Reply:
        """Send a request into the mesh; return its reply at once.

        Raises:
            TooLargeError: the body does not fit a message.
        """
        now = self._clock.now()
        # With the caller's id for a key, a second request of that id could stop the first, or take its frames.
        request_id = new_request_id()
        sent = inference_request_to_wire(request, request_id, self._subject)
        streamed = streamed_body(request.endpoint, request.body, request.hints, self._directory.catalog)
        if streamed is not None:
            sent.body, sent.in_one_piece = streamed, True
        span = open_request_span(self._ring.tracer, sent)
        self._ring.send(subjects.CLASSIFY, sent)
        reply = Reply(request_id, lambda error: self._stop(request_id, error), request.correlation_id)
        deadline = now + request.timeout_seconds
        whole = None if streamed is None else WholeAnswer(request.endpoint)
        self._requests[request_id] = EdgeRequest(sent, reply, now, deadline, now, self._record_budget, whole, span)
        return reply

    def _on_frames(self, frames: Sequence[frame_pb2.Frame]) -> None:
        now = self._clock.now()
        for frame in frames:
            request = self._requests.get(frame.request_id)
            if request is None:
                if frame.HasField("head") and not frame.HasField("end"):
                    self._send_stop(frame, NOT_READ)
                continue
            if frame.held:
                request.on_notice(frame, now)
                if frame.interrupt:
                    self._interrupt(request, frame)
                continue
            outcome = request.on_frame(frame, now)
            if outcome is Outcome.TAKEN:
                continue
            if outcome is Outcome.ENDED:
                self._requests.pop(frame.request_id).close()
            elif outcome is Outcome.BROKEN:
                self._recover(request, request.failure)
            elif outcome is Outcome.TO_ACKNOWLEDGE:
                self._acknowledge(request)
            elif outcome is Outcome.OVERRUN:
                self._end(request, request.failure)
            elif outcome is Outcome.UNWANTED:
                self._send_stop(frame, NOT_READ)

    def _acknowledge(self, request: EdgeRequest) -> None:
        """Say how far the consumer of a long stream has come, once it has nearly caught up."""
        if request.reply.unread_bytes > LOW_WATER_BYTES:
            request.reply.on_low = lambda: self._acknowledge(request)
        elif not request.reply.ended:
            request.acknowledged_bytes = request.received_bytes
            self._send_flow(request)

    def _send_flow(self, request: EdgeRequest) -> None:
        flow = engine_pb2.Flow(
            request_id=request.request_id, attempt=attempt_to_wire(request.attempt), taken_bytes=request.taken_bytes
        )
        self._ring.send(subjects.FLOW, flow)

    def _recover(self, request: EdgeRequest, failure: SageError) -> None:
        """Start over after a broken attempt, or continue elsewhere, or end the request with ``failure``."""
        request_id = request.request_id
        try:
            if not request.may_start_over and request.continue_stream():
                self._requests.pop(request_id).close()
                self._send_cancelled(request_id, "the answer is complete")
                return
            log.info("request submitted again", **request.log_fields, reason=failure.message)
            request.span.on_resubmitted("resubmitted", request.engine_id, failure.code)
            request.supersede()
            self._send(request)
        except NotResumableError as reason:
            log.info("stream not continued", **request.log_fields, reason=str(reason))
            self._end(request, failure)
        except TooLargeError as error:
            log.warning("continuation not sent", **request.log_fields, reason=error.message)
            self._end(request, failure)

    def _interrupt(self, request: EdgeRequest, frame: frame_pb2.Frame) -> None:
        """Stop an attempt whose seat more urgent work needs, and submit what is left of the request, if that can be."""
        # The scheduler's message to an engine holds more than the body.
        most_bytes = self._ring.max_item_bytes // 2
        if not request.interrupt(attempt_from_wire(frame.attempt), frame.head.tries, most_bytes):
            return
        log.info("request interrupted", **request.log_fields, engine=frame.head.engine_id)
        request.span.on_resubmitted("interrupted", frame.head.engine_id, "its seat is needed")
        self._send_stop(frame, "interrupted")
        self._send(request)

    def _send(self, request: EdgeRequest) -> None:
        now = self._clock.now()
        request.sent.age_ms = int((now - request.accepted_at) * 1000)
        request.heard_at = now
        request.sent_again = True
        request.asked_at = None
        self._ring.send(subjects.CLASSIFY, request.sent)

    def _end(self, request: EdgeRequest, error: SageError) -> None:
        if self._requests.pop(request.request_id, None) is not None:
            self._send_cancelled(request.request_id, error.code)
            request.span.fail(error)
            request.reply.fail(error, request.usage_so_far())
            request.close()

    def _stop(self, request_id: str, error: SageError) -> None:
        request = self._requests.get(request_id)
        if request is not None:
            self._end(request, error)

    def _send_cancelled(self, request_id: str, reason: str) -> None:
        self._ring.send(subjects.CANCEL, engine_pb2.Cancellation(request_id=request_id, reason=reason))

    def _send_stop(self, frame: frame_pb2.Frame, reason: str) -> None:
        """Stop one attempt, on its engine; another may be the answer, or the request has ended."""
        cancellation = engine_pb2.Cancellation(
            request_id=frame.request_id, up_to=frame.attempt, reason=reason, engine_id=frame.head.engine_id
        )
        self._ring.send(subjects.CANCEL, cancellation)

    def _on_no_classifier(self, _subject: str, items: Sequence[bytes]) -> None:
        """Classify in this process, with the same library, and send on."""
        log.warning("no classifier listens; classifying here", requests=len(items))
        for item in items:
            message = request_pb2.InferenceRequest.FromString(item)
            try:
                found = classify_traced(self._ring.tracer, self._classifier, message, self._choice)
            except SageError as error:
                self._stop(message.request_id, error)
                continue
            self._pools.send(request_pb2.ClassifiedRequest(request=message, classification=found))

    # What follows watches over silence.

    def _on_directory(self, change: DirectoryChange) -> None:
        if not self._requests:
            return
        for state in change.lost:
            engine_id = state.spec.engine_id
            for request in self._on_engine(engine_id):
                self._recover(request, stream_interrupted(f"engine {engine_id!r} is gone: {change.reason}"))
        now = self._clock.now()
        running = {state.spec.engine_id: {one.request_id for one in state.running} for state in change.updated}
        for request in list(self._requests.values()):
            if (answers := request.engine_id) is None or answers not in running:
                continue
            if request.request_id in running[answers] or now - request.heard_at < self._timings.answer_within:
                request.missing_heartbeats = 0
                continue
            request.missing_heartbeats += 1
            if request.missing_heartbeats >= self.MISSING_HEARTBEATS:
                self._recover(request, stream_interrupted(f"engine {answers!r} no longer runs the request"))

    def _on_engine(self, engine_id: str) -> list[EdgeRequest]:
        return [request for request in self._requests.values() if request.engine_id == engine_id]

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._timings.sweep)
            try:
                self._sweep(self._clock.now())
            except Exception:
                log.exception("edge sweep failed")

    def _sweep(self, now: float) -> None:
        timings = self._timings
        for request in list(self._requests.values()):
            if request.received_bytes >= LOW_WATER_BYTES:
                self._send_flow(request)
            if now >= request.deadline:
                seconds = round(request.deadline - request.accepted_at, 3)
                self._end(request, DeadlineExceededError(f"no complete answer within {seconds} s"))
            elif request.engine_id or now - request.heard_at < timings.ask_after / (4 if request.sent_again else 1):
                continue
            elif request.asked_at is None:
                request.asked_at = now
                inquiry = engine_pb2.Inquiry(request_id=request.request_id, reply_subject=self._subject)
                self._ring.send(subjects.INQUIRE, inquiry)
            elif now - request.asked_at >= timings.answer_within:
                self._resubmit_unheld(request, request.asked_at, now)

    def _resubmit_unheld(self, request: EdgeRequest, asked_at: float, now: float) -> None:
        if request.unheld_since is None:
            request.unheld_since = asked_at
        if now - request.unheld_since >= self._timings.give_up_after:
            error = UnavailableError(
                f"no scheduler has taken the request for {self._timings.give_up_after:g} s; see `sage status`",
                code="no_scheduler",
                retry_after_seconds=1,
            )
            self._end(request, error)
            return
        request.sent.admitted = True  # a dead scheduler's whole queue comes to the next one at once
        self._send(request)
