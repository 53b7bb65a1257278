"""A request from its submission to its end, with its running attempts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sage_control_plane.policies.lanes import Lane
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.request.request import Attempt, PendingRequest


class RequestState(Enum):
    """Place of a request."""

    QUEUED = "queued"
    BACKING_OFF = "backing_off"
    RUNNING = "running"


@dataclass(slots=True, eq=False)
class TrackedRequest:
    """A request that waits or runs. Only ``RequestTable`` changes it; times are seconds of the scheduler's clock.

    Attributes:
        submission: number of the edge's submission.
        output_tokens: expected length of the answer.
        request: None for an adopted request whose submission has not arrived.
        lane: None while ``request`` is.
        waited_seconds: time waited before the present wait.
        waiting_since: when the present wait began.
        tries: dispatches so far, hedges among them.
        hedges: how many of those were second attempts while a first was running.
        hedged: whether two attempts have run at the same time since it was last placed.
        avoided: ids of the engines that have failed it.
        loss_spared: whether a loss of its engine has already been exempt from the retry budget.
        charged_seconds: engine-seconds charged to its tenant so far.
        attempt: the attempt that runs; None unless the state is RUNNING.
        hedge: the second attempt; None without one.
        losing_attempt: the one of two attempts that was aborted because the other began first.
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
        """Return the running attempt with this number; None when it does not run."""
        for attempt in (self.attempt, self.hedge):
            if attempt is not None and attempt.number == number:
                return attempt
        return None

    def find_on(self, engine_id: str) -> DispatchedAttempt | None:
        """Return the attempt that runs on an engine; None when none does."""
        for attempt in (self.attempt, self.hedge):
            if attempt is not None and attempt.engine_id == engine_id:
                return attempt
        return None

    def other_attempt(self, attempt: DispatchedAttempt) -> DispatchedAttempt | None:
        """Return the running attempt that is not ``attempt``; None when there is none."""
        return self.attempt if self.hedge is attempt else self.hedge
