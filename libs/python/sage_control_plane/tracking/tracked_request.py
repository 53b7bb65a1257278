"""A request from its submission to its end, with the attempts at it that run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sage_control_plane.policies.lanes import Lane
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.request.request import Attempt, PendingRequest


class RequestState(Enum):
    """Where a request is."""

    QUEUED = "queued"
    BACKING_OFF = "backing_off"
    RUNNING = "running"


@dataclass(slots=True, eq=False)
class TrackedRequest:
    """What the scheduler knows of a request. Only ``RequestTable`` changes it; times are seconds of its clock.

    Attributes:
        submission: number of the edge's submission.
        output_tokens: expected length of the answer.
        request: None for a request found running in a heartbeat whose submission has not been seen.
        lane: None as long as ``request`` is.
        waited_seconds: time queued before the present wait.
        waiting_since: when the present wait began.
        tries: dispatches so far, hedges among them.
        hedges: how many of those were second attempts beside a first.
        hedged: whether two attempts have run at the same time since the request was last placed.
        avoided: engines that have failed it.
        loss_spared: whether one loss of its engine has been made good outside the retry budget.
        charged_seconds: engine-seconds charged to its tenant so far.
        attempt: the attempt that runs; None unless the state is RUNNING.
        hedge: a second attempt that runs beside it.
        losing_attempt: the other of two attempts, aborted because the one that runs began first.
    """

    request_id: str
    submission: int
    output_tokens: int = 0
    request: PendingRequest | None = None
    lane: Lane | None = None
    state: RequestState = RequestState.QUEUED
    waited_seconds: float = 0.0
    waiting_since: float = 0.0
    tries: int = 0
    hedges: int = 0
    hedged: bool = False
    avoided: frozenset[str] = frozenset()
    loss_spared: bool = False
    charged_seconds: float = 0.0
    attempt: DispatchedAttempt | None = None
    hedge: DispatchedAttempt | None = None
    losing_attempt: DispatchedAttempt | None = None

    def find(self, number: Attempt) -> DispatchedAttempt | None:
        """Return the running attempt of this number; None when it does not run."""
        for attempt in (self.attempt, self.hedge):
            if attempt is not None and attempt.number == number:
                return attempt
        return None

    def find_on(self, engine_id: str) -> DispatchedAttempt | None:
        """Return the attempt that runs on an engine, if one does."""
        for attempt in (self.attempt, self.hedge):
            if attempt is not None and attempt.engine_id == engine_id:
                return attempt
        return None

    def beside(self, attempt: DispatchedAttempt) -> DispatchedAttempt | None:
        """Return the attempt that runs beside ``attempt``, if one does."""
        return self.attempt if self.hedge is attempt else self.hedge
