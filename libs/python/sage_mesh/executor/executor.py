"""The executor's side of the ring: dispatches in, frames and reports out, heartbeats while alive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sage.inference.v1 import engine_pb2, frame_pb2
from sage_common.clock import Clock
from sage_common.errors import EngineFailedError, InternalError, SageError, UnavailableError, describe
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_mesh.bodies.body_store import BodyStore
from sage_mesh.engine import Engine
from sage_mesh.executor.attempt_span import open_attempt_span
from sage_mesh.executor.dispatched_request import dispatched_request
from sage_mesh.executor.frame_writer import FrameWriter
from sage_mesh.executor.heartbeat_writer import HeartbeatWriter
from sage_mesh.executor.hosted_engine import HostedEngine, ReadLoad, RunningAttempt
from sage_mesh.wire.errors import error_to_wire
from sage_mesh.wire.requests import attempt_from_wire, id_fields
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.ring import Ring

log = get_logger(__name__)

HEARTBEAT_SECONDS = 0.25
# A changed phase is sent sooner: until then work goes to an engine that is gone, or passes one that is back.
PHASE_SECONDS = 0.05
BEING_STOPPED = "it is being stopped"


class Executor:
    """Hosts engines on the ring. One process runs one executor with any number of engines."""

    def __init__(self, ring: Ring, executor_id: str, service: str, clock: Clock) -> None:
        self._ring = ring
        self._bodies = BodyStore(ring.connection.jetstream())
        self._executor_id = executor_id
        self._service = service
        self._clock = clock
        self._hosted: dict[str, HostedEngine] = {}
        self._heartbeats = HeartbeatWriter(executor_id, service)
        self._subscriptions: list[Subscription] = []
        self._beat: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def engines(self) -> dict[str, Engine]:
        """The hosted engines by id."""
        return {engine_id: hosted.engine for engine_id, hosted in self._hosted.items()}

    @property
    def outstanding(self) -> int:
        """Requests running on all engines."""
        return sum(len(hosted.attempts) for hosted in self._hosted.values())

    def states(self) -> list[EngineState]:
        """Return the engines as the heartbeats describe them."""
        return [hosted.state(self._executor_id) for hosted in self._hosted.values()]

    async def start(self) -> None:
        """Listen for cancellations and hellos, and begin to send heartbeats."""
        connection = self._ring.connection
        self._subscriptions = [
            await self._ring.subscribe(subjects.CANCEL, engine_pb2.CancellationBatch, self._on_cancel),
            await self._ring.subscribe(subjects.FLOW, engine_pb2.FlowBatch, self._on_flows),
            await connection.subscribe(subjects.HELLO, cb=self._on_hello),
        ]
        self._beat = keep_running(self._beat_forever, name="heartbeat")

    async def host(self, engine: Engine, load: ReadLoad = lambda: None) -> asyncio.Task[None]:
        """Take an engine in and start it; the returned task ends when it is ready or has failed to start.

        Args:
            load: read for each heartbeat.
        """
        engine_id = engine.spec.engine_id
        hosted = HostedEngine(engine, self._clock, load)
        hosted.subscription = await self._ring.subscribe(
            subjects.dispatch(engine_id), frame_pb2.DispatchBatch, self._on_dispatches
        )
        self._hosted[engine_id] = hosted
        hosted.starting = asyncio.create_task(self._start_engine(engine), name=f"start-{engine_id}")
        return hosted.starting

    async def remove(self, engine_id: str, *, drain: bool, timeout_seconds: float) -> int:
        """Take an engine out; return how many of its requests had to be aborted.

        Removals of one engine at once are one: each waits for its own drain, then all for the same end, which comes
        even where a caller is cancelled. An engine that cannot be stopped stays in the heartbeats as stopped and can
        be removed again: what it has started may still run.

        Raises:
            KeyError: there is no such engine here.
            Exception: what the engine's ``stop`` raises.
        """
        hosted = self._hosted[engine_id]
        if drain:
            hosted.draining = True
            self.beat()
            await self._empty([hosted], timeout_seconds)
        return await self._removal(hosted)

    def _removal(self, hosted: HostedEngine) -> asyncio.Future[int]:
        if hosted.removal is None or not hosted.is_leaving:
            name = f"remove-{hosted.engine.spec.engine_id}"
            hosted.removal = asyncio.create_task(self._take_out(hosted), name=name)
        return asyncio.shield(hosted.removal)

    async def _take_out(self, hosted: HostedEngine) -> int:
        engine_id = hosted.engine.spec.engine_id
        if hosted.subscription:
            try:
                await hosted.subscription.unsubscribe()
            except Exception:
                # What still comes is turned away from here on.
                hosted.stopping = BEING_STOPPED
                log.warning(
                    "engine's subscription not ended; it is stopped all the same", engine=engine_id, exc_info=True
                )
            hosted.subscription = None
        if hosted.starting and not hosted.starting.done():
            await end_tasks(hosted.starting)
        aborted = list(hosted.attempts.values())
        for attempt in aborted:
            attempt.verdict = EngineFailedError("the engine was stopped before the answer was complete", retryable=True)
            attempt.end()
        await asyncio.gather(*(attempt.task for attempt in aborted if attempt.task), return_exceptions=True)
        # Schedulers count it as gone from here on; people see it until it is.
        hosted.stopping = BEING_STOPPED
        self.beat()
        try:
            await hosted.engine.stop()
        except Exception as error:
            hosted.stopping = f"it could not be stopped and may still run; remove it again: {describe(error)}"
            self.beat()
            raise
        if self._hosted.get(engine_id) is hosted:
            del self._hosted[engine_id]
        self.beat()
        return len(aborted)

    async def stop(self, drain_timeout_seconds: float) -> None:
        """Finish what runs within the time-out, then leave and stop every engine. A no-op the second time."""
        if self._stopping:
            return
        self._stopping = True
        for hosted in self._hosted.values():
            hosted.draining = True
        self.beat()
        await self._empty(list(self._hosted.values()), drain_timeout_seconds)
        # Together: each may take seconds to end its server, and one that fails must not keep the others from it.
        removals = {engine_id: self._removal(hosted) for engine_id, hosted in self._hosted.items()}
        outcomes = await asyncio.gather(*removals.values(), return_exceptions=True)
        for engine_id, outcome in zip(removals, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                log.error("engine not stopped", engine=engine_id, exc_info=outcome)
        if self._beat:
            await end_tasks(self._beat)
        self._publish_heartbeat(leaving=True)
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        await self._ring.flush()

    def beat(self) -> None:
        """Send a heartbeat now: something changed that the schedulers need to know."""
        self._publish_heartbeat(leaving=False)

    async def _start_engine(self, engine: Engine) -> None:
        try:
            await engine.start()
        except SageError as error:
            log.error("engine did not start", engine=engine.spec.engine_id, error=error.message)
        except Exception:
            log.exception("engine did not start", engine=engine.spec.engine_id)
        self.beat()

    async def _empty(self, hosted: list[HostedEngine], timeout_seconds: float) -> None:
        deadline = self._clock.now() + timeout_seconds
        while any(h.attempts for h in hosted) and self._clock.now() < deadline:
            tasks = [attempt.task for h in hosted for attempt in h.attempts.values() if attempt.task]
            await asyncio.wait(tasks, timeout=deadline - self._clock.now(), return_when=asyncio.FIRST_COMPLETED)

    # Dispatches

    def _on_dispatches(self, dispatches: Sequence[frame_pb2.Dispatch]) -> None:
        for dispatch in dispatches:
            self._take(dispatch)

    def _take(self, dispatch: frame_pb2.Dispatch) -> None:
        number = attempt_from_wire(dispatch.attempt)
        hosted = self._hosted.get(dispatch.engine_id)
        writer = FrameWriter(self._ring, dispatch)
        attempt = RunningAttempt(dispatch, number, writer, self._clock.now())
        attempt.span = open_attempt_span(self._ring.tracer, dispatch, self._service)
        if hosted is None or not hosted.takes_work:
            reason = "is gone" if hosted is None else f"is {hosted.state(self._executor_id).phase.name.lower()}"
            error = UnavailableError(f"engine {dispatch.engine_id!r} {reason}", code="engine_not_ready", retryable=True)
            self._report(attempt, engine_pb2.REPORT_EVENT_FAILED, error)
            return
        older = hosted.attempts.get(attempt.request_id)
        if older is not None:
            if number <= older.number:
                return
            older.end()
        writer.on_head = lambda: self._on_head(attempt)
        hosted.attempts[attempt.request_id] = attempt
        attempt.task = asyncio.get_running_loop().create_task(self._run(hosted, attempt))

    async def _run(self, hosted: HostedEngine, attempt: RunningAttempt) -> None:
        try:
            try:
                attempt.step()
                await hosted.engine.run(await dispatched_request(attempt, self._bodies), attempt.writer)
                attempt.writer.finish()
                self._report(attempt, engine_pb2.REPORT_EVENT_FINISHED)
            except asyncio.CancelledError:
                if attempt.verdict is None:
                    self._report(attempt, engine_pb2.REPORT_EVENT_CANCELLED)
                else:
                    self._fail(attempt, attempt.verdict)
            except SageError as error:
                self._fail(attempt, error)
            except Exception as error:
                log.exception("engine failed", engine=attempt.engine_id, **id_fields(attempt.dispatch.request))
                self._fail(attempt, InternalError(f"the engine failed: {type(error).__name__}: {error}"))
        finally:
            if hosted.attempts.get(attempt.request_id) is attempt:
                del hosted.attempts[attempt.request_id]

    def _fail(self, attempt: RunningAttempt, error: SageError) -> None:
        """Report the failure; it is the answer too, unless another engine may still give one from the beginning."""
        if attempt.writer.begun or not error.retryable:
            attempt.writer.fail(error)
        self._report(attempt, engine_pb2.REPORT_EVENT_FAILED, error)

    def _on_cancel(self, cancellations: Sequence[engine_pb2.Cancellation]) -> None:
        for cancellation in cancellations:
            engine_id = cancellation.engine_id
            for hosted in self._hosted.values():
                attempt = hosted.attempts.get(cancellation.request_id)
                if attempt is None or (engine_id and engine_id != attempt.engine_id):
                    continue
                later = cancellation.HasField("up_to") and attempt.number > attempt_from_wire(cancellation.up_to)
                if not later and not (cancellation.unbegun and attempt.writer.begun):
                    attempt.end()

    def _on_flows(self, flows: Sequence[engine_pb2.Flow]) -> None:
        for flow in flows:
            for hosted in self._hosted.values():
                attempt = hosted.attempts.get(flow.request_id)
                if attempt is not None and attempt.number == attempt_from_wire(flow.attempt):
                    attempt.writer.window.on_taken(flow.taken_bytes)

    # Reports and heartbeats

    def _on_head(self, attempt: RunningAttempt) -> None:
        """Report the first token at the end of this turn of the loop.

        An answer that is complete in the same turn, as vectors are, needs no report of its beginning.
        """
        attempt.ttft_us = self._elapsed_us(attempt)
        attempt.span.on_first_token()
        first_token = engine_pb2.REPORT_EVENT_FIRST_TOKEN
        attempt.first_token = asyncio.get_running_loop().call_soon(self._report, attempt, first_token)

    def _elapsed_us(self, attempt: RunningAttempt) -> int:
        return int((self._clock.now() - attempt.started_at) * 1_000_000)

    def _report(self, attempt: RunningAttempt, event: engine_pb2.ReportEvent, error: SageError | None = None) -> None:
        if attempt.first_token is not None:
            attempt.first_token.cancel()
            attempt.first_token = None
        attempt.span.on_report(event, attempt.writer.usage_message, error)
        report = engine_pb2.Report(
            request_id=attempt.request_id,
            engine_id=attempt.engine_id,
            attempt=attempt.dispatch.attempt,
            event=event,
            usage=attempt.writer.usage_message,
            error=error_to_wire(error) if error else None,
            ttft_us=attempt.ttft_us or 0,
            elapsed_us=self._elapsed_us(attempt),
            started_replying=attempt.writer.begun,
            resumable=attempt.writer.resumable,
        )
        self._ring.send(subjects.report(attempt.dispatch.classification.pool), report)

    async def _on_hello(self, _message: Msg) -> None:
        self.beat()

    async def _beat_forever(self) -> None:
        while True:
            self.beat()
            sent = self._phases()
            for _ in range(round(HEARTBEAT_SECONDS / PHASE_SECONDS)):
                await asyncio.sleep(PHASE_SECONDS)
                if self._phases() != sent:
                    break

    def _phases(self) -> dict[str, EnginePhase]:
        return {engine_id: hosted.engine.phase for engine_id, hosted in self._hosted.items()}

    def _publish_heartbeat(self, *, leaving: bool) -> None:
        engines = [(hosted.reported, hosted.state(self._executor_id)) for hosted in self._hosted.values()]
        self._ring.send_unbatched(
            subjects.HEARTBEAT, self._heartbeats.next(engines, HEARTBEAT_SECONDS, leaving=leaving)
        )
