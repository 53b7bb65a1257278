"""An engine that an executor hosts: the attempts that run on it, and what heartbeats say of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from nats.aio.subscription import Subscription

from sage.inference.v1 import frame_pb2
from sage_common.clock import Clock
from sage_common.errors import SageError
from sage_control_plane.request.engine_state import EngineLoad, EnginePhase, EngineState, RunningRequest
from sage_control_plane.request.request import Attempt
from sage_mesh.engine import Engine
from sage_mesh.executor.attempt_span import UNRECORDED, UnrecordedAttempt
from sage_mesh.executor.frame_writer import FrameWriter
from sage_mesh.executor.reported_engine import ReportedEngine
from sage_mesh.wire.requests import tenant_from_wire

# Gives the load that an engine measures of itself; None where it is not known.
ReadLoad = Callable[[], EngineLoad | None]


@dataclass
class RunningAttempt:
    """One attempt at a request, on one engine.

    Attributes:
        dispatch: what the scheduler sent.
        number: which attempt at the request it is.
        started_at: seconds of the executor's clock.
        task: runs the engine; None until it is made.
        ttft_us: microseconds from the dispatch to the first byte; None before.
        first_token: the pending report of its first token, until the end of that turn of the loop.
        verdict: why the executor itself ended the task; None when the client or a newer attempt did.
        stepped: whether the task has taken its first step.
        ended_unstepped: whether it was ended before that.
        span: tells what becomes of it.
    """

    dispatch: frame_pb2.Dispatch
    number: Attempt
    writer: FrameWriter
    started_at: float
    task: asyncio.Task[None] | None = None
    ttft_us: int | None = None
    first_token: asyncio.Handle | None = None
    verdict: SageError | None = None
    stepped: bool = False
    ended_unstepped: bool = False
    span: UnrecordedAttempt = UNRECORDED

    @property
    def request_id(self) -> str:
        """Id of the request."""
        return self.dispatch.request.request_id

    @property
    def engine_id(self) -> str:
        """Id of the engine."""
        return self.dispatch.engine_id

    def end(self) -> None:
        """End the task. One without its first step takes it: cancelled, it would skip its report and its last frame."""
        if not self.stepped:
            self.ended_unstepped = True
        elif self.task is not None:
            self.task.cancel()

    def step(self) -> None:
        """Record the task's first step. Raises CancelledError if it was ended before."""
        self.stepped = True
        if self.ended_unstepped:
            raise asyncio.CancelledError


@dataclass
class HostedEngine:
    """An engine and what its executor keeps for it.

    Attributes:
        load: reads the engine's own load.
        subscription: to what is dispatched to it.
        starting: its start.
        draining: whether it finishes what it has and gets nothing more.
        stopping: why it counts as stopped, while it stops and where it could not be stopped; None before.
        attempts: those that run, by request id.
        phase: the phase that was last described, and since when, by the clock.
        removal: its last removal, shared by all who asked for one; results in the number of requests it aborted.
        reported: what the last heartbeat said of it.
    """

    engine: Engine
    clock: Clock
    load: ReadLoad = lambda: None
    subscription: Subscription | None = None
    starting: asyncio.Task[None] | None = None
    draining: bool = False
    stopping: str | None = None
    attempts: dict[str, RunningAttempt] = field(default_factory=dict)
    phase: tuple[EnginePhase, float] | None = None
    removal: asyncio.Task[int] | None = None
    reported: ReportedEngine = field(default_factory=ReportedEngine)

    @property
    def takes_work(self) -> bool:
        """Whether it runs what is dispatched to it.

        A draining engine still serves what the scheduler sent before it knew.
        """
        return not self.stopping and self.engine.phase in (EnginePhase.READY, EnginePhase.DRAINING)

    @property
    def is_leaving(self) -> bool:
        """Whether it is being taken out, or has been; false where that failed, so that it can be tried again."""
        removal = self.removal
        if removal is None:
            return False
        return not removal.done() or not (removal.cancelled() or removal.exception())

    def state(self, executor_id: str) -> EngineState:
        """Return the engine as heartbeats describe it."""
        phase, reason = self.engine.phase, self.engine.reason
        if self.stopping:
            phase, reason = EnginePhase.STOPPED, self.stopping
        elif self.draining and phase is EnginePhase.READY:
            phase, reason = EnginePhase.DRAINING, "draining"
        now = self.clock.now()
        if self.phase is None or self.phase[0] is not phase:
            self.phase = phase, now
        return EngineState(
            spec=self.engine.spec,
            phase=phase,
            reason=reason,
            executor_id=executor_id,
            running=tuple(
                RunningRequest(
                    request_id,
                    attempt.number,
                    attempt.writer.begun,
                    attempt.dispatch.classification.input_tokens + attempt.dispatch.classification.output_tokens,
                    tenant_from_wire(attempt.dispatch.request.tenant),
                    attempt.dispatch.request.correlation_id or None,
                )
                for request_id, attempt in self.attempts.items()
            ),
            load=self.load(),
            phase_seconds=now - self.phase[1],
        )
