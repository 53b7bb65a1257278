"""The requests of one pool by id, with their place: queue, back-off or engine.

Each method moves one request between queue, engines and end, and keeps queue bounds, credits, timers and decisions in
step. The manager, ``recovery`` and ``hedging`` decide why it moves.
"""

from __future__ import annotations

from collections.abc import Callable

from sage_common.errors import SageError
from sage_control_plane.placement.placer import Placement
from sage_control_plane.placement.route_placer import RoutePlacer
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.pick import Pick
from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.breaker import Verdict
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.prediction.output_length import OutputLengths
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import Attempt, PendingRequest, TokensUsed
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decision_outbox import DecisionOutbox
from sage_control_plane.tracking.decisions import Dispatch, Outcome
from sage_control_plane.tracking.tenant_charges import TenantCharges
from sage_control_plane.tracking.timers import Timers
from sage_control_plane.tracking.tracked_request import RequestState, TrackedRequest


class RequestTable:
    """The tracked requests. Only the table changes them."""

    def __init__(
        self,
        engines: EnginePool,
        queue: WorkQueue,
        placer: RoutePlacer,
        charges: TenantCharges,
        lengths: OutputLengths,
        timers: Timers,
        outbox: DecisionOutbox,
        log: DecisionLog,
    ) -> None:
        self._engines = engines
        self._queue = queue
        self._placer = placer
        self._charges = charges
        self._lengths = lengths
        self._timers = timers
        self._outbox = outbox
        self._log = log
        self._requests: dict[str, TrackedRequest] = {}

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    def get(self, request_id: str) -> TrackedRequest | None:
        """Return the request; None when it neither waits nor runs."""
        return self._requests.get(request_id)

    def find(self, request_id: str, number: Attempt) -> tuple[TrackedRequest, DispatchedAttempt] | None:
        """Return a running attempt with its request; None when the attempt does not run."""
        tracked = self._requests.get(request_id)
        attempt = None if tracked is None else tracked.find(number)
        return None if tracked is None or attempt is None else (tracked, attempt)

    def waiting(self) -> list[PendingRequest]:
        """Return the requests that wait for an engine."""
        return [
            tracked.request
            for tracked in list(self._requests.values())  # a copy, because metrics are read from another thread
            if tracked.request is not None and tracked.state is not RequestState.RUNNING
        ]

    # The queue

    def open(self, request: PendingRequest, now: float) -> None:
        """Track and queue a new request."""
        tracked = TrackedRequest(request.request_id, request.submission, avoided=request.avoided)
        self._requests[tracked.request_id] = tracked
        self._describe(tracked, request)
        self.enqueue(tracked, request, now)

    def attach(self, tracked: TrackedRequest, request: PendingRequest) -> None:
        """Give an adopted request its submission."""
        self._describe(tracked, request)
        # Makes the route known, so that an absence of engines for it is noticed.
        self._engines.route(request.classification.route)

    def _describe(self, tracked: TrackedRequest, request: PendingRequest) -> None:
        tracked.request = request
        tracked.lane = Lane(request.classification.route)
        expected = self._lengths.expected(request.tenant, request.classification)
        tracked.output_tokens = max(1, expected - request.delivered_tokens) if request.delivered_tokens else expected

    def enqueue(self, tracked: TrackedRequest, request: PendingRequest, now: float) -> None:
        """Queue a request in the lane that avoids the engines that have failed it."""
        lane = tracked.lane or Lane(request.classification.route)
        if lane.avoided != tracked.avoided:
            lane = Lane(lane.route, tracked.avoided)
        tracked.lane = lane
        tracked.state = RequestState.QUEUED
        tracked.waiting_since = now
        self._queue.join(request, lane, now)
        self._outbox.wait(request, now)
        self._timers.expiry.arm(tracked.request_id, request.expires_at)

    def back_off(self, tracked: TrackedRequest, request: PendingRequest, now: float, until: float) -> None:
        """Keep a request out of the queue until ``until``."""
        tracked.state = RequestState.BACKING_OFF
        tracked.waiting_since = now
        self._outbox.wait(request, now)
        self._timers.backoff.arm(tracked.request_id, until)

    def unqueue(self, tracked: TrackedRequest) -> None:
        """Take a waiting request out of the queue or out of its back-off."""
        if tracked.state is RequestState.BACKING_OFF:
            self._timers.backoff.disarm(tracked.request_id)
        else:
            self._queue.leave(tracked.request_id)
            self._timers.expiry.disarm(tracked.request_id)

    # Placing

    def place(self, tracked: TrackedRequest, pick: Pick, now: float) -> bool:
        """Dispatch a queued request to an engine; return False when none is free for it.

        Closes the lane when no engine is left for it.
        """
        assert tracked.lane is not None
        lane, route = tracked.lane, self._engines.route(tracked.lane.route)
        placement = self._placer.place(pick.request, route, tracked.avoided, now)
        if placement is None:
            self._queue.close(lane)
            return False
        self.unqueue(tracked)
        tracked.waited_seconds += now - tracked.waiting_since
        tracked.tries += 1
        tracked.hedged = False
        tracked.losing_attempt = None
        attempt = self._dispatch(tracked, pick.request, placement, pick.band, now)
        tracked.state = RequestState.RUNNING
        tracked.attempt = attempt
        if not tracked.charged_seconds:
            tracked.charged_seconds = self._charges.charge(pick.request, attempt, now)
        if not route.free.engines:
            self._queue.close(lane)
        return True

    def place_hedge(self, tracked: TrackedRequest, paid: Callable[[], bool], now: float) -> bool:
        """Dispatch a second attempt to another engine, if one is free and ``paid`` allows it; return whether it did."""
        request, lane, first = tracked.request, tracked.lane, tracked.attempt
        assert request is not None
        assert lane is not None
        assert first is not None
        avoided = tracked.avoided | {first.engine_id}
        placement = self._placer.place_elsewhere(request, self._engines.route(lane.route), avoided, now)
        if placement is None or not paid():
            return False
        tracked.tries += 1
        tracked.hedges += 1
        tracked.hedged = True
        tracked.hedge = self._dispatch(tracked, request, placement, None, now, hedge_of=first.number.dispatch)
        return True

    def _dispatch(
        self,
        tracked: TrackedRequest,
        request: PendingRequest,
        placement: Placement,
        band: str | None,
        now: float,
        *,
        hedge_of: int | None = None,
    ) -> DispatchedAttempt:
        attempt = DispatchedAttempt(
            tracked.request_id,
            placement.engine_id,
            self._outbox.next_number(tracked.submission),
            request.classification.input_tokens + tracked.output_tokens,
            tracked.output_tokens,
            now,
            request,
        )
        self._charge(attempt, now)
        decision = Dispatch(
            request,
            placement.engine_id,
            attempt.number,
            tracked.tries,
            int(tracked.waited_seconds * 1_000_000),
            band,
            placement.candidates,
            attempt.predicted_ttft,
            hedge_of,
        )
        self._outbox.dispatch(decision, now)
        return attempt

    # Attempts

    def _charge(self, attempt: DispatchedAttempt, now: float) -> None:
        """Charge an attempt to its engine."""
        self._engines.take(self._engines.entries[attempt.engine_id], attempt, now)
        if attempt.prefilled_by is not None:
            self._timers.prefill.arm((attempt.engine_id, attempt.request_id), attempt.prefilled_by)

    def release(self, attempt: DispatchedAttempt, verdict: Verdict, now: float) -> None:
        """Take an attempt off its engine; ``verdict`` is what its end says about the engine."""
        if attempt.prefilled_by is not None:
            self._timers.prefill.disarm((attempt.engine_id, attempt.request_id))
        entry, ejected_seconds = self._engines.give(attempt, verdict, now)
        if ejected_seconds is not None:
            self._outbox.totals.ejected += 1
            self._timers.ejection.arm(attempt.engine_id, now + ejected_seconds)
        self.refresh(entry)

    def refresh(self, entry: EngineEntry | None) -> None:
        """Refresh an engine that has changed, and open the lanes that it serves; None does nothing."""
        if entry is not None:
            self._engines.refresh(entry)
            self._queue.open(self._engines.routes_of(entry))

    def refresh_begun(self, entry: EngineEntry) -> None:
        """Refresh an engine that is not free, and on which an answer has begun: it may have room for prompts again."""
        if entry.credits.has_slot or entry.credits.learned is not None:
            self._engines.refresh(entry)
        self._queue.open(self._engines.routes_of(entry))

    def adopt(self, running: RunningRequest, entry: EngineEntry, now: float) -> None:
        """Track a request that an engine runs for an earlier leader; if it waits here, take it out of the queue."""
        tracked = self._requests.get(running.request_id)
        if tracked is None:
            tracked = TrackedRequest(running.request_id, running.attempt.submission)
            self._requests[tracked.request_id] = tracked
        else:
            self.unqueue(tracked)
        tracked.state = RequestState.RUNNING
        tracked.tries = 1
        tracked.attempt = self._adopt(tracked, running, entry, now)
        self._log.adopted(running, entry.engine_id, now)

    def adopt_hedge(
        self, tracked: TrackedRequest, running: RunningRequest, entry: EngineEntry, now: float
    ) -> DispatchedAttempt:
        """Track a second attempt that another engine runs for an earlier leader, and return it."""
        tracked.tries += 1
        tracked.hedges += 1
        tracked.hedged = True
        tracked.hedge = self._adopt(tracked, running, entry, now)
        return tracked.hedge

    def _adopt(
        self, tracked: TrackedRequest, running: RunningRequest, entry: EngineEntry, now: float
    ) -> DispatchedAttempt:
        request, output_tokens = tracked.request, tracked.output_tokens
        attempt = DispatchedAttempt.adopted_from(running, entry.engine_id, request, output_tokens, now)
        self._charge(attempt, now)
        return attempt

    def take_back(self, tracked: TrackedRequest, entry: EngineEntry, now: float, ttft_seconds: float) -> None:
        """Track the losing attempt again, as the hedge of the one that won: it began before its abort arrived."""
        losing = tracked.losing_attempt
        assert losing is not None
        tracked.losing_attempt = None
        tracked.hedge = losing
        self._engines.take_begun(entry, losing, now, ttft_seconds)

    def keep(self, tracked: TrackedRequest, attempt: DispatchedAttempt, *, losing: bool = False) -> None:
        """Keep one of two attempts.

        Args:
            losing: whether the other one is aborted, and may begin before the abort arrives.
        """
        other = tracked.other_attempt(attempt)
        tracked.attempt, tracked.hedge = attempt, None
        tracked.losing_attempt = other if losing else None

    def remove_attempt(self, tracked: TrackedRequest, attempt: DispatchedAttempt) -> None:
        """Remove a failed attempt from its request, and have the request avoid its engine."""
        tracked.avoided |= {attempt.engine_id}
        other = tracked.other_attempt(attempt)
        tracked.attempt, tracked.hedge = other, None

    def spare_loss(self, tracked: TrackedRequest) -> None:
        """Note that a loss of its engine was not charged to the retry budget."""
        tracked.loss_spared = True

    # The end

    def forget(self, tracked: TrackedRequest) -> None:
        """Stop tracking a request without a decision: another submission takes its place."""
        self.refund(tracked)
        if tracked.state is not RequestState.RUNNING:
            self.unqueue(tracked)
        del self._requests[tracked.request_id]

    def end(self, tracked: TrackedRequest, outcome: Outcome, now: float) -> None:
        """End a request that neither waits nor runs."""
        del self._requests[tracked.request_id]
        self._outbox.end(tracked.request_id, outcome, now)

    def refuse(self, tracked: TrackedRequest, error: SageError, now: float) -> None:
        """End a request that neither waits nor runs with an error, and refund its tenant."""
        self.refund(tracked)
        del self._requests[tracked.request_id]
        self._outbox.refuse(tracked.request_id, tracked.submission, tracked.request, error, now)

    def refund(self, tracked: TrackedRequest) -> None:
        """Refund a request's tenant, since the request has no answer."""
        if tracked.request is not None and tracked.charged_seconds:
            self._charges.refund(tracked.request, tracked.charged_seconds)
            tracked.charged_seconds = 0.0

    def settle(self, tracked: TrackedRequest, attempt: DispatchedAttempt, used: TokensUsed) -> None:
        """Correct the tenant's charge to the tokens used."""
        if tracked.request is not None:
            self._charges.settle(tracked.request, attempt, used, tracked.charged_seconds)
