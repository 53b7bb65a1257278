"""The requests of one pool: where each is, and what it is charged to.

Each verb here moves one request between the queue, the engines and its end, and keeps queue bounds, credits, timers and
decisions in step. Why it moves is the business of the manager, of ``recovery`` and of ``hedging``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sage_common.errors import SageError
from sage_control_plane.placement.pickers import SMALL_POOL
from sage_control_plane.placement.placer import Placement, Placer
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.policy import Pick
from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.breaker import Verdict
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.route_index import RouteEngines
from sage_control_plane.prediction.output_length import OutputLengths
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import Attempt, PendingRequest
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decisions import Abort, Decision, Dispatch, Ended, Outcome, Refuse
from sage_control_plane.tracking.reconciliation import EPOCH_SHIFT
from sage_control_plane.tracking.timers import Timers
from sage_control_plane.tracking.tracked_request import RequestState, TrackedRequest


@dataclass(slots=True)
class Totals:
    """Counts since the table was opened; refusals by machine code."""

    dispatched: int = 0
    retried: int = 0
    hedged: int = 0
    refused: dict[str, int] = field(default_factory=dict)


class RequestTable:
    """Tracked requests by id. It alone changes them."""

    def __init__(
        self,
        engines: EnginePool,
        queue: WorkQueue,
        placer: Placer,
        learning: PoolLearning,
        lengths: OutputLengths,
        prefixes: PrefixIndex,
        timers: Timers,
        log: DecisionLog,
        epoch: int,
    ) -> None:
        self._engines = engines
        self._queue = queue
        self._placer = placer
        self._learning = learning
        self._lengths = lengths
        self._prefixes = prefixes
        self._timers = timers
        self._log = log
        self._number = epoch << EPOCH_SHIFT
        self._requests: dict[str, TrackedRequest] = {}
        self._decisions: list[Decision] = []
        self.totals = Totals()

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    def get(self, request_id: str) -> TrackedRequest | None:
        """Return a request that waits or runs; None when it does not."""
        return self._requests.get(request_id)

    def find(self, request_id: str, number: Attempt) -> tuple[TrackedRequest, DispatchedAttempt] | None:
        """Return a running attempt with its request; None for an attempt that does not run, or no longer."""
        tracked = self._requests.get(request_id)
        attempt = None if tracked is None else tracked.find(number)
        return None if tracked is None or attempt is None else (tracked, attempt)

    def waiting(self) -> list[PendingRequest]:
        """Return the requests that wait for an engine."""
        return [
            tracked.request
            for tracked in self._requests.values()
            if tracked.request is not None and tracked.state is not RequestState.RUNNING
        ]

    def take_decisions(self) -> list[Decision]:
        """Return the decisions since the last call."""
        decisions, self._decisions = self._decisions, []
        return decisions

    # The queue

    def open(self, request: PendingRequest, now: float) -> None:
        """Track and queue a new request."""
        classification = request.classification
        output_tokens = self._lengths.expected(request.tenant, classification)
        tracked = TrackedRequest(
            request.request_id,
            request.submission,
            classification.input_tokens + output_tokens,
            output_tokens,
            request,
            Lane(classification.route),
            avoided=request.avoided,
        )
        self._requests[tracked.request_id] = tracked
        self.enqueue(tracked, request, now)

    def attach(self, tracked: TrackedRequest, request: PendingRequest) -> None:
        """Complete a request that was found running with its submission."""
        tracked.request = request
        tracked.lane = Lane(request.classification.route)
        # From here on the absence of engines for its route is watched.
        self._engines.route(tracked.lane.route)

    def enqueue(self, tracked: TrackedRequest, request: PendingRequest, now: float) -> None:
        """Queue a request, in a lane that avoids the engines that have failed it."""
        lane = tracked.lane or Lane(request.classification.route)
        if lane.avoided != tracked.avoided:
            lane = Lane(lane.route, tracked.avoided)
        tracked.lane = lane
        tracked.state = RequestState.QUEUED
        tracked.waiting_since = now
        self._queue.join(request, lane, now)
        self._log.waits(request, self._queue.policy.name, now)
        self._timers.expiry.arm(tracked.request_id, request.expires_at)

    def back_off(self, tracked: TrackedRequest, request: PendingRequest, now: float, until: float) -> None:
        """Keep a request out of the queue until then."""
        tracked.state = RequestState.BACKING_OFF
        tracked.waiting_since = now
        self._log.waits(request, self._queue.policy.name, now)
        self._timers.backoff.arm(tracked.request_id, until)

    def unqueue(self, tracked: TrackedRequest) -> None:
        """Take a request that waits out of the queue, or out of its back-off."""
        if tracked.state is RequestState.BACKING_OFF:
            self._timers.backoff.disarm(tracked.request_id)
        else:
            self._queue.leave(tracked.request_id)
            self._timers.expiry.disarm(tracked.request_id)

    # Placing

    def place(self, tracked: TrackedRequest, pick: Pick, now: float) -> bool:
        """Dispatch a queued request to an engine; return False when none is free for it.

        The lane is closed when no engine is left for it.
        """
        assert tracked.lane is not None
        lane, route = tracked.lane, self._engines.route(tracked.lane.route)
        placement = self._choose(pick.request, tracked, route, now)
        if placement is None:
            self._queue.close(lane)
            return False
        self.unqueue(tracked)
        tracked.waited_seconds += now - tracked.waiting_since
        tracked.tries += 1
        tracked.hedged = False
        tracked.losing_attempt = None
        self.totals.dispatched += 1
        if tracked.tries > 1:
            self.totals.retried += 1
        attempt = self._dispatch(tracked, pick.request, placement, pick.band, now)
        tracked.state = RequestState.RUNNING
        tracked.attempt = attempt
        if not tracked.charged_seconds:
            cost = self._learning.prices.seconds(lane.route, attempt.uncached_tokens, tracked.output_tokens)
            tracked.charged_seconds = cost
            self._queue.drained(pick.request, cost, now)
        if not route.free.engines:
            self._queue.close(lane)
        return True

    def place_hedge(self, tracked: TrackedRequest, paid: Callable[[], bool], now: float) -> bool:
        """Dispatch a second attempt at a running request to another engine, if one is free and it is ``paid`` for."""
        request, lane, first = tracked.request, tracked.lane, tracked.attempt
        assert request is not None
        assert lane is not None
        assert first is not None
        avoided = tracked.avoided | {first.engine_id}
        free = [entry for entry in self._engines.route(lane.route).free.engines if entry.engine_id not in avoided]
        placement = self._placer.place(request, free, now) if free else None
        if placement is None or not paid():
            return False
        tracked.tries += 1
        tracked.hedges += 1
        tracked.hedged = True
        self.totals.hedged += 1
        tracked.hedge = self._dispatch(tracked, request, placement, "", now, hedge_of=first.number.dispatch)
        return True

    def _dispatch(
        self,
        tracked: TrackedRequest,
        request: PendingRequest,
        placement: Placement,
        band: str,
        now: float,
        *,
        hedge_of: int = 0,
    ) -> DispatchedAttempt:
        self._number += 1
        attempt = DispatchedAttempt(
            tracked.request_id,
            placement.engine_id,
            Attempt(tracked.submission, self._number),
            tracked.tokens,
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
        self._decisions.append(decision)
        self._log.dispatched(decision, self._queue.policy.name, now)
        return attempt

    def _choose(
        self, request: PendingRequest, tracked: TrackedRequest, route: RouteEngines, now: float
    ) -> Placement | None:
        free = route.free.engines
        if not free:
            return None
        avoided = tracked.avoided
        if avoided:
            untried = [entry for entry in free if entry.engine_id not in avoided]
            if not untried and any(e.usable for e in route.serving.values() if e.engine_id not in avoided):
                # Another engine is alive, if busy: wait for it rather than go back to one that failed.
                return None
            free = untried or free
        favourite = None
        if len(free) > SMALL_POOL and request.classification.prefix_blocks:
            latest = route.serving.get(self._prefixes.latest(request) or "")
            if latest is not None and latest.free and latest.engine_id not in avoided:
                favourite = latest
        return self._placer.place(request, free, now, favourite)

    # Attempts

    def _charge(self, attempt: DispatchedAttempt, now: float) -> None:
        """Put an attempt on its engine's account."""
        self._engines.take(self._engines.entries[attempt.engine_id], attempt, now)
        if attempt.prefilled_by is not None:
            self._timers.prefill.arm((attempt.engine_id, attempt.request_id), attempt.prefilled_by)

    def release(self, attempt: DispatchedAttempt, verdict: Verdict, now: float) -> None:
        """Take an attempt off its engine's account; ``verdict`` is what its end says about the engine."""
        if attempt.prefilled_by is not None:
            self._timers.prefill.disarm((attempt.engine_id, attempt.request_id))
        entry, ejected_seconds = self._engines.give(attempt, verdict)
        if ejected_seconds is not None:
            self._timers.ejection.arm(attempt.engine_id, now + ejected_seconds)
        self.freed(entry)

    def freed(self, entry: EngineEntry) -> None:
        """Let queued work through, if what has changed about an engine allows it."""
        self._engines.refresh(entry)
        self._queue.open(self._engines.routes_of(entry))

    def assume_prefilled(self, of: tuple[str, str], now: float) -> None:
        """Count a prompt as computed if an answer in one piece still runs.

        Args:
            of: its engine's id and its own.
        """
        engine_id, request_id = of
        entry = self._engines.entries.get(engine_id)
        attempt = None if entry is None else entry.prefill_pending.get(request_id)
        if entry is not None and attempt is not None:
            self._engines.assume_prefilled(entry, attempt, now)
            self.freed(entry)

    def adopt(self, running: RunningRequest, entry: EngineEntry, now: float) -> None:
        """Track a request that an engine runs for an earlier leader; one that waits here does so no longer."""
        tracked = self._requests.get(running.request_id)
        if tracked is None:
            tracked = TrackedRequest(running.request_id, running.attempt.submission, running.tokens)
            self._requests[tracked.request_id] = tracked
        else:
            self.unqueue(tracked)
        tracked.state = RequestState.RUNNING
        tracked.tries = 1
        tracked.attempt = self._adopted(tracked, running, tracked.tokens, entry, now)
        self._log.adopted(tracked.request_id, entry.engine_id, now)
        self._charge(tracked.attempt, now)

    def adopt_beside(
        self, tracked: TrackedRequest, running: RunningRequest, entry: EngineEntry, now: float
    ) -> DispatchedAttempt:
        """Track a second attempt, which another engine runs for an earlier leader, and return it."""
        tracked.tries += 1
        tracked.hedges += 1
        tracked.hedged = True
        tracked.hedge = self._adopted(tracked, running, running.tokens, entry, now)
        self._charge(tracked.hedge, now)
        return tracked.hedge

    def _adopted(
        self, tracked: TrackedRequest, running: RunningRequest, tokens: int, entry: EngineEntry, now: float
    ) -> DispatchedAttempt:
        return DispatchedAttempt(
            tracked.request_id,
            entry.engine_id,
            running.attempt,
            tokens,
            tracked.output_tokens,
            now,
            tracked.request,
            adopted=True,
            begun=running.started_replying,
            begun_at=now,
        )

    def take_back(self, tracked: TrackedRequest, entry: EngineEntry, now: float, ttft_seconds: float) -> None:
        """Let the losing attempt run beside the one that won: it had begun before its abort reached it."""
        losing = tracked.losing_attempt
        assert losing is not None
        tracked.losing_attempt = None
        tracked.hedge = losing
        self._engines.take_begun(entry, losing, now, ttft_seconds)

    def keep(self, tracked: TrackedRequest, attempt: DispatchedAttempt, *, losing: bool = False) -> None:
        """Let one of two attempts go on alone.

        Args:
            losing: whether the other one is aborted, and may have begun before the abort reaches it.
        """
        other = tracked.beside(attempt)
        tracked.attempt, tracked.hedge = attempt, None
        tracked.losing_attempt = other if losing else None

    def failed(self, tracked: TrackedRequest, attempt: DispatchedAttempt) -> None:
        """Take an attempt that has failed from its request, which avoids its engine from now on."""
        tracked.avoided |= {attempt.engine_id}
        other = tracked.beside(attempt)
        tracked.attempt, tracked.hedge = other, None

    def spare_loss(self, tracked: TrackedRequest) -> None:
        """Note that a loss of its engine has been made good outside the retry budget."""
        tracked.loss_spared = True

    def abort(
        self, attempt: DispatchedAttempt, reason: str, *, one_engine: bool = False, unbegun: bool = False
    ) -> None:
        """Have the executors stop an attempt, if they run it.

        Args:
            one_engine: only its own engine, rather than every one that runs an attempt up to this.
            unbegun: only if its answer has not begun.
        """
        engine_id = attempt.engine_id if one_engine else ""
        self._decisions.append(Abort(attempt.request_id, attempt.number, reason, engine_id, unbegun))

    # The end

    def forget(self, tracked: TrackedRequest) -> None:
        """Strike a request off without a word: another submission takes its place."""
        self.refund(tracked)
        if tracked.state is not RequestState.RUNNING:
            self.unqueue(tracked)
        del self._requests[tracked.request_id]

    def end(self, tracked: TrackedRequest, outcome: Outcome, now: float) -> None:
        """Strike a request off that neither waits nor runs any more."""
        del self._requests[tracked.request_id]
        self._decisions.append(Ended(tracked.request_id, outcome))
        self._log.ended(tracked.request_id, outcome, now)

    def turn_away(self, request: PendingRequest, error: SageError, now: float) -> None:
        """Refuse a request that is not tracked."""
        self._refuse(request.request_id, request.submission, request, error, now)

    def refuse(self, tracked: TrackedRequest, error: SageError, now: float) -> None:
        """End a request that neither waits nor runs any more with an error. Its tenant gets the charge back."""
        self.refund(tracked)
        del self._requests[tracked.request_id]
        self._refuse(tracked.request_id, tracked.submission, tracked.request, error, now)

    def _refuse(
        self, request_id: str, submission: int, request: PendingRequest | None, error: SageError, now: float
    ) -> None:
        self._number += 1
        self.totals.refused[error.code] = self.totals.refused.get(error.code, 0) + 1
        self._decisions.append(Refuse(request_id, Attempt(submission, self._number), error))
        self._log.refused(request_id, request, error, self._queue.policy.name, now)

    def refund(self, tracked: TrackedRequest) -> None:
        """Give a request's tenant back what it was charged: the request comes to nothing."""
        if tracked.request is not None and tracked.charged_seconds:
            self._queue.settled(tracked.request, -tracked.charged_seconds)
            tracked.charged_seconds = 0.0

    def settle(self, tracked: TrackedRequest, attempt: DispatchedAttempt, used: tuple[int, int]) -> None:
        """Correct the tenant's charge to what was used, and learn the answer's length.

        Args:
            used: input and output tokens; 0 for what is not known.
        """
        request = tracked.request
        if request is None:
            return
        classification, uncached_tokens = request.classification, attempt.uncached_tokens
        if used[0] and classification.input_tokens and not attempt.adopted:
            uncached_tokens *= used[0] / classification.input_tokens
        output_tokens = used[1] or tracked.output_tokens
        cost = self._learning.prices.seconds(classification.route, uncached_tokens, output_tokens)
        self._queue.settled(request, cost - tracked.charged_seconds)
        self._lengths.learn(request.tenant, classification, used[1])
