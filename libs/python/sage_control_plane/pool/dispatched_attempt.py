"""One attempt at a request, on its engine."""

from __future__ import annotations

from dataclasses import dataclass

from sage_control_plane.prediction.demand import Demand
from sage_control_plane.prediction.forecast import UsageCounters
from sage_control_plane.prediction.latency import Load
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import Attempt, PendingRequest

# What has less time left until its time-out is not interrupted: it might not get another seat before.
TIME_TO_GO_ON_SECONDS = 60.0

_IDLE = Load()
_NOT_BEGUN = UsageCounters()


@dataclass(slots=True, eq=False)
class DispatchedAttempt:
    """An attempt from its dispatch until it is off its engine. Only ``EnginePool`` changes it, but for ``resumable``.

    Times are seconds of the scheduler's clock.

    Attributes:
        number: submission and dispatch.
        tokens: estimate of input and output, as taken from the engine's credits.
        output_tokens: expected length of the answer.
        request: None for an adopted attempt whose submission has not arrived.
        adopted: whether it was found running in a heartbeat, so that its time of dispatch is not known.
        begun: whether the first byte of its answer has left.
        begun_at: when that was; meaningless before.
        resumable: whether its answer, so far as it has come, can be continued by another attempt.
        missing_heartbeats: heartbeats in a row of its engine that do not list it.
        uncached_tokens: input tokens that the engine is not expected to have cached.
        queued_tokens: what it adds to the engine's queued input tokens until its prompt is computed.
        load_at_dispatch: the engine's load when it was dispatched.
        predicted_ttft: seconds, as predicted at dispatch; None without a trusted prediction.
        prefilled_by: when its prompt is assumed to be computed; None where the answer shows when it is.
        counters_at_begin: the engine's counters when its decoding began.
        decoding: whether its engine counts it among those that decode.
        tpot_target_ms: target for the time between its tokens, as counted in its engine's entry; None for none.
        stream: the stream of requests whose seats its own counts among; None where it holds none.
        level: of its band, late if its target had passed when it was dispatched; as which it holds its seat.
        seat: what its seat counts among those that less urgent work holds; None while it holds none.
        keeps_seat: whether it was clear then that it could not be interrupted and go on.
    """

    request_id: str
    engine_id: str
    number: Attempt
    tokens: int
    output_tokens: int
    dispatched_at: float
    request: PendingRequest | None = None
    adopted: bool = False
    begun: bool = False
    begun_at: float = 0.0
    resumable: bool = False
    missing_heartbeats: int = 0
    uncached_tokens: float = 0.0
    queued_tokens: int = 0
    load_at_dispatch: Load = _IDLE
    predicted_ttft: float | None = None
    prefilled_by: float | None = None
    counters_at_begin: UsageCounters = _NOT_BEGUN
    decoding: bool = False
    tpot_target_ms: int | None = None
    stream: Demand | None = None
    level: int = 0
    seat: float | None = None
    keeps_seat: bool = False

    def seconds_since_shown_begin(self, now: float) -> float | None:
        """Return for how long it has been generated; None where its beginning does not show."""
        shows = self.begun and self.request is not None and self.request.classification.shows_beginning
        return now - self.begun_at if shows else None

    @classmethod
    def adopted_from(
        cls, running: RunningRequest, engine_id: str, request: PendingRequest | None, output_tokens: int, now: float
    ) -> DispatchedAttempt:
        """Make the attempt of a request that a heartbeat lists as running."""
        return cls(
            running.request_id,
            engine_id,
            running.attempt,
            running.tokens,
            output_tokens,
            now,
            request,
            adopted=True,
            begun=running.started_replying,
            begun_at=now,
        )


def may_go_on(request: PendingRequest, now: float) -> bool:
    """Return whether a request's answer, stopped at ``now``, can be continued and has time for that."""
    classification = request.classification
    return classification.resumable and request.expires_at - now >= TIME_TO_GO_ON_SECONDS
