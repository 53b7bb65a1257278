"""What the manager remembers of a request from its submission to its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sage_control_plane.policies.lanes import Lane
from sage_control_plane.prediction.forecast import UsageCounters
from sage_control_plane.prediction.latency import Load
from sage_control_plane.request.request import Attempt, PendingRequest

IDLE = Load()
UNBEGUN = UsageCounters()


class JobState(Enum):
    """Where a request is."""

    QUEUED = "queued"
    BACKING_OFF = "backing_off"
    RUNNING = "running"


@dataclass(slots=True)
class Job:
    """One request in the entries. Times are seconds of the scheduler's clock.

    Attributes:
        request: None for a request found running in a heartbeat whose submission has not been seen.
        tokens: estimate, as charged to the engine's credits.
        waited_seconds: time queued before the present wait.
        waiting_since: when the present wait began.
        tries: dispatches so far.
        avoided: engines that have failed it.
        spared_loss: whether one loss of its engine has been made good outside the retry budget.
        begun: whether the first byte of the answer has left.
        missing_heartbeats: heartbeats in a row of its engine that did not list it.
        adopted: whether it was found running, so that nobody here knows when it was dispatched.
        output_tokens: expected length of the answer.
        uncached_tokens: input tokens that its engine has not cached.
        queued_tokens: what it adds to its engine's queued input tokens until it begins.
        found: what was on its engine when it was dispatched.
        predicted_ttft: seconds, as predicted at dispatch; None when nothing trustworthy was known.
        computed_by: when its prompt is presumed computed if nothing shows it; 0 for a job that shows it itself.
        begun_at: when its first token came.
        clocks: its engine's when it began.
        decoding: whether its engine's entry counts it among those whose tokens are coming.
        paced_ms: target for the time between its tokens, as noted in its engine's entry; 0 for none.
        charged_seconds: engine-seconds charged to its tenant so far.
        hedges: how many of its tries were second attempts beside a first.
        hedged: whether two attempts at it have run at the same time.
        loser: the other attempt of two, aborted because this one began first.
    """

    request_id: str
    submission: int
    tokens: int
    request: PendingRequest | None = None
    lane: Lane | None = None
    state: JobState = JobState.QUEUED
    waited_seconds: float = 0.0
    waiting_since: float = 0.0
    tries: int = 0
    avoided: frozenset[str] = frozenset()
    spared_loss: bool = False
    engine_id: str = ""
    attempt: Attempt = Attempt(0, 0)
    dispatched_at: float = 0.0
    begun: bool = False
    missing_heartbeats: int = 0
    adopted: bool = False
    output_tokens: int = 0
    uncached_tokens: float = 0.0
    queued_tokens: int = 0
    load_at_dispatch: Load = IDLE
    predicted_ttft: float | None = None
    computed_by: float = 0.0
    begun_at: float = 0.0
    clocks: UsageCounters = UNBEGUN
    decoding: bool = False
    paced_ms: int = 0
    charged_seconds: float = 0.0
    hedges: int = 0
    hedged: bool = False
    loser: Job | None = None

    def leave_engine(self) -> None:
        """Forget what the job was to an engine that it is on no more, or that another attempt at it is on."""
        self.begun = self.adopted = self.decoding = False
        self.missing_heartbeats = self.queued_tokens = self.paced_ms = 0
        self.computed_by = self.begun_at = 0.0
        self.predicted_ttft = None
        self.clocks = UNBEGUN
        self.loser = None
