"""Hedging: a second attempt, on another engine, at a request whose first token is long overdue."""

from __future__ import annotations

from sage_common.errors import CancelledError
from sage_control_plane.pool.breaker import Verdict
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import Attempt
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decision_outbox import DecisionOutbox
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.retry_budget import RetryBudget
from sage_control_plane.tracking.settings import HedgeSettings
from sage_control_plane.tracking.timers import Timer
from sage_control_plane.tracking.tracked_request import RequestState, TrackedRequest


class Hedging:
    """Decides when a request is hedged and which attempt goes on (Dean and Barroso, The Tail at Scale, CACM 2013).

    A request is hedged only before its first token, and inside a budget that is a share of the requests. The attempt
    with the first token wins and the other is aborted, unless it has begun by then: only the edge knows which of two
    begun attempts the client reads, and stops the other. If one attempt fails the other goes on alone.

    Args:
        overdue: the timer of overdue first tokens.
        max_tries: dispatches of one submission up to which it may be hedged.
    """

    def __init__(
        self,
        table: RequestTable,
        outbox: DecisionOutbox,
        engines: EnginePool,
        learning: PoolLearning,
        overdue: Timer[str],
        log: DecisionLog,
        settings: HedgeSettings,
        max_tries: int,
    ) -> None:
        self._table = table
        self._outbox = outbox
        self._engines = engines
        self._learning = learning
        self._overdue = overdue
        self._log = log
        self._factor = settings.factor
        self._least_seconds = settings.least_seconds
        self._max_tries = max_tries
        self._enabled = settings.ratio > 0
        self._budget = RetryBudget(settings.ratio, 0.0, burst=20.0)
        overdue.on_due = self._on_overdue

    # When

    def on_dispatched(self, tracked: TrackedRequest, now: float) -> None:
        """Arm the timer of a dispatched request's first token, if it is known when that is due."""
        if not self._enabled:
            return
        if tracked.tries == 1:
            self._budget.deposit()
        expected = self._expected_seconds(tracked)
        if expected is not None:
            wait = max(self._least_seconds, self._factor * expected)
            self._overdue.arm(tracked.request_id, now + wait)

    def _on_overdue(self, request_id: str, now: float) -> None:
        """Hedge a request; where no engine is free or the budget is spent, try again later."""
        tracked = self._table.get(request_id)
        first = None if tracked is None else tracked.attempt
        if tracked is None or first is None or first.begun:
            return
        if tracked.hedge is not None or tracked.tries >= self._max_tries:
            return
        if not self._table.place_hedge(tracked, lambda: self._budget.withdraw(now), now):
            wait = max(self._least_seconds, now - first.dispatched_at)
            self._overdue.arm(request_id, now + wait)

    def _expected_seconds(self, tracked: TrackedRequest) -> float | None:
        """Return the expected time to the first byte of the answer; None without a trusted prediction."""
        request, attempt = tracked.request, tracked.attempt
        if request is None or attempt is None or request.classification.sheddable:
            return None
        classification = request.classification
        if classification.shows_beginning:
            return attempt.predicted_ttft
        # The first byte of an answer in one piece comes with its last.
        forecast = self._engines.entries[attempt.engine_id].forecast
        prompt = forecast.ttft_seconds(classification.generates, attempt.uncached_tokens)
        each = forecast.tpot_seconds()
        return None if prompt is None or each is None else prompt + each * tracked.output_tokens

    # Which

    def on_began(self, tracked: TrackedRequest, attempt: DispatchedAttempt, now: float) -> None:
        """Note an attempt's first token: abort the other attempt, if there is one that has not begun."""
        self._overdue.disarm(tracked.request_id)
        other = tracked.other_attempt(attempt)
        if other is None or other.begun:
            return
        entry = self._engines.entries.get(other.engine_id)
        if entry is not None:
            # Without this sample only an engine's quick answers would be learned from: the slower, the better it would
            # look.
            self._learning.overdue(entry, other, now)
        self._table.keep(tracked, attempt, losing=True)
        self._drop(other, "another attempt was faster", now, unbegun=True)

    def on_losing_attempt_began(self, request_id: str, number: Attempt, now: float, ttft_seconds: float | None) -> None:
        """Track the losing attempt again, which began before its abort arrived; the edge stops one of the two."""
        tracked = self._table.get(request_id)
        losing = None if tracked is None or tracked.state is not RequestState.RUNNING else tracked.losing_attempt
        if tracked is None or losing is None or losing.number != number:
            return
        entry = self._engines.entries.get(losing.engine_id)
        if entry is not None:
            waited = now - losing.dispatched_at if ttft_seconds is None else ttft_seconds
            self._table.take_back(tracked, entry, now, waited)

    def remove_attempt(self, tracked: TrackedRequest, attempt: DispatchedAttempt, now: float) -> bool:
        """Remove an attempt that is off its engine from its request; return whether another attempt runs."""
        self._table.remove_attempt(tracked, attempt)
        other = tracked.attempt
        if other is None:
            self._overdue.disarm(tracked.request_id)
            return False
        if other.begun:
            seconds = other.begun_at - other.dispatched_at
            self._log.began(tracked.request_id, other.engine_id, seconds, other.predicted_ttft, now)
        return True

    def on_ended(self, tracked: TrackedRequest, now: float) -> None:
        """Abort the hedge of a request that ends without an answer."""
        self._overdue.disarm(tracked.request_id)
        if tracked.attempt is not None and (hedge := tracked.hedge) is not None:
            self._table.keep(tracked, tracked.attempt)
            self._drop(hedge, "the request has ended", now, unbegun=False)

    def on_completed(self, tracked: TrackedRequest, attempt: DispatchedAttempt, now: float) -> None:
        """Stop tracking the attempt beside a complete one. It is not aborted, since the client may be reading it."""
        self._overdue.disarm(tracked.request_id)
        other = tracked.other_attempt(attempt)
        if other is not None:
            self._table.keep(tracked, attempt)
            self._table.release(other, Verdict.NEUTRAL, now)

    def adopt(self, tracked: TrackedRequest, running: RunningRequest, entry: EngineEntry, now: float) -> None:
        """Track a second attempt that an engine runs for an earlier leader, if it belongs to this submission."""
        first = tracked.attempt
        if first is None or tracked.submission != running.attempt.submission:
            return
        if first.engine_id == entry.engine_id or tracked.hedge is not None:
            return
        second = self._table.adopt_hedge(tracked, running, entry, now)
        if first.begun or second.begun:
            self.on_began(tracked, first if first.begun else second, now)

    def _drop(self, losing: DispatchedAttempt, reason: str, now: float, *, unbegun: bool) -> None:
        error = CancelledError(reason, code="hedge_lost")
        self._log.attempt_failed(losing.request_id, losing.number, error)
        if losing.engine_id in self._engines.entries:
            self._outbox.abort(losing, reason, one_engine=True, unbegun=unbegun)
            self._table.release(losing, Verdict.NEUTRAL, now)
