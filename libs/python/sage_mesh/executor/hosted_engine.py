"""An engine in its executor's hands: what it runs there, and what heartbeats say of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from nats.aio.subscription import Subscription

from sage.inference.v1 import frame_pb2
from sage_common.errors import SageError
from sage_control_plane.request.engine_state import EngineLoad, EnginePhase, EngineState, RunningRequest
from sage_control_plane.request.request import Attempt
from sage_mesh.engine import Engine
from sage_mesh.executor.frame_writer import FrameWriter

TellLoad = Callable[[], EngineLoad | None]


@dataclass
class RunningAttempt:
    """One attempt at a request.

    Attributes:
        started_at: seconds of the executor's clock.
        begun: the word of its first token, until the end of this turn of the loop.
        verdict: why the executor itself ended the task; None when the client or a newer attempt did.
        stepped: whether the task has taken its first step.
        ended_unstepped: whether it was ended before that.
    """

    dispatch: frame_pb2.Dispatch
    attempt: Attempt
    writer: FrameWriter
    started_at: float
    task: asyncio.Task[None] | None = None
    begun: asyncio.Handle | None = None
    verdict: SageError | None = None
    stepped: bool = False
    ended_unstepped: bool = False

    def end(self) -> None:
        """Have the task end. One without its first step takes it: cancelled, it would skip its report and its end."""
        if not self.stepped:
            self.ended_unstepped = True
        elif self.task is not None:
            self.task.cancel()

    def step(self) -> None:
        """Note the task's first step. Raises CancelledError if it was ended before."""
        self.stepped = True
        if self.ended_unstepped:
            raise asyncio.CancelledError


@dataclass
class HostedEngine:
    """An engine and what its executor holds for it.

    Attributes:
        load: what the engine says of its own load.
        subscription: to what is dispatched to it.
        starting: its start.
        draining: whether it finishes what it has and is to get nothing more.
        stopping: why it counts as stopped, while it stops and where it could not be stopped; empty before.
        running: by request id.
        removal: its last removal, which all who want it gone share; gives how many requests it aborted.
    """

    engine: Engine
    load: TellLoad = lambda: None
    subscription: Subscription | None = None
    starting: asyncio.Task[None] | None = None
    draining: bool = False
    stopping: str = ""
    running: dict[str, RunningAttempt] = field(default_factory=dict)
    removal: asyncio.Task[int] | None = None

    @property
    def takes_work(self) -> bool:
        """Whether it runs what is dispatched to it.

        Draining by an operator or by a stop still serves what the scheduler sent before it heard of it.
        """
        return not self.stopping and self.engine.phase in (EnginePhase.READY, EnginePhase.DRAINING)

    @property
    def is_leaving(self) -> bool:
        """Whether it is being taken out, or has been; not where that failed, so that it can be tried again."""
        removal = self.removal
        if removal is None:
            return False
        return not removal.done() or not (removal.cancelled() or removal.exception())

    def state(self, executor_id: str) -> EngineState:
        """The engine as heartbeats describe it."""
        phase, reason = self.engine.phase, self.engine.reason
        if self.stopping:
            phase, reason = EnginePhase.STOPPED, self.stopping
        elif self.draining and phase is EnginePhase.READY:
            phase, reason = EnginePhase.DRAINING, "draining"
        return EngineState(
            spec=self.engine.spec,
            phase=phase,
            reason=reason,
            executor_id=executor_id,
            running=tuple(
                RunningRequest(
                    request_id,
                    running.attempt,
                    running.writer.begun,
                    running.dispatch.classification.input_tokens + running.dispatch.classification.output_tokens,
                )
                for request_id, running in self.running.items()
            ),
            load=self.load(),
        )
