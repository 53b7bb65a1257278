"""Executors' reports on attempts: begun, finished, failed, cancelled."""

from __future__ import annotations

from sage_common.errors import SageError
from sage_control_plane.pool.breaker import Verdict, verdict_of
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.request.request import Attempt, TokensUsed
from sage_control_plane.tracking.cooling import Cooling
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decisions import Outcome
from sage_control_plane.tracking.hedging import Hedging
from sage_control_plane.tracking.interruption import Interruption
from sage_control_plane.tracking.recovery import Recovery
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.timers import Timers
from sage_control_plane.tracking.tracked_request import TrackedRequest


class AttemptReports:
    """Applies reports to the request table and feeds the predictions with them.

    A report about an attempt that does not run is late and changes nothing.
    """

    def __init__(
        self,
        table: RequestTable,
        engines: EnginePool,
        learning: PoolLearning,
        recovery: Recovery,
        hedging: Hedging,
        interruption: Interruption,
        timers: Timers,
        log: DecisionLog,
    ) -> None:
        self._table = table
        self._engines = engines
        self._learning = learning
        self._recovery = recovery
        self._hedging = hedging
        self._interruption = interruption
        self._cooling = Cooling(table, engines, timers.cooling)
        self._log = log

    def on_first_token(
        self,
        request_id: str,
        number: Attempt,
        now: float,
        used: TokensUsed,
        ttft_seconds: float | None,
        *,
        resumable: bool,
    ) -> None:
        """Note the first byte of an answer, ``ttft_seconds`` after the engine got the request; None when unknown."""
        found = self._table.find(request_id, number)
        if found is None:
            self._hedging.on_losing_attempt_began(request_id, number, now, ttft_seconds)
        else:
            self._begin(*found, now, used, ttft_seconds, resumable=resumable)

    def on_listed_as_begun(self, attempt: DispatchedAttempt, now: float) -> None:
        """Note the beginning of an answer that only a heartbeat shows; its time to first token is not known."""
        tracked = self._table.get(attempt.request_id)
        if tracked is not None and not attempt.begun:
            self._hedging.on_began(tracked, attempt, now)
            self._engines.begin(attempt, now, None)

    def on_finished(
        self, request_id: str, number: Attempt, now: float, used: TokensUsed, ttft_seconds: float | None
    ) -> None:
        """End a request whose answer is complete, correct its tenant's charge, and learn from it."""
        found = self._table.find(request_id, number)
        if found is None:
            # The report of a complete answer may be the first that says that it has begun.
            self._hedging.on_losing_attempt_began(request_id, number, now, ttft_seconds)
            found = self._table.find(request_id, number)
            if found is None:
                return
        tracked, attempt = found
        self._begin(tracked, attempt, now, used, ttft_seconds)
        self._engines.finished(attempt, now, used.output)
        self._table.release(attempt, Verdict.SUCCEEDED, now)
        self._table.settle(tracked, attempt, used)
        self._interruption.on_finished(attempt, used, now)
        self._hedging.on_completed(tracked, attempt, now)
        self._log.finished(request_id, used.output)
        self._table.end(tracked, Outcome.FINISHED, now)

    def on_failed(
        self, request_id: str, number: Attempt, error: SageError, now: float, *, started_replying: bool
    ) -> None:
        """End an attempt with an error; the request goes on where another attempt runs.

        Otherwise a retryable failure is tried again on another engine, unless bytes of the answer have left.
        """
        found = self._table.find(request_id, number)
        if found is None:
            return
        tracked, attempt = found
        self._table.release(attempt, verdict_of(error), now)
        cooled_seconds = self._cooling.on_failed(attempt.engine_id, error, now)
        self._log.attempt_failed(request_id, number, error, cooled_seconds)
        if self._hedging.remove_attempt(tracked, attempt, now):
            return
        if not started_replying and error.retryable:
            self._recovery.on_failed(tracked, error, now)
            return
        self._table.refund(tracked)
        if tracked.hedged and not started_replying:
            # The edge has the executor's error, but waits for the other attempt until it learns that none runs.
            self._table.refuse(tracked, error, now)
        else:
            # The executor has sent the error to the edge as the answer.
            self._table.end(tracked, Outcome.FAILED, now)

    def on_cancelled(self, request_id: str, number: Attempt, now: float) -> None:
        """End an attempt that its executor has stopped because of a cancellation."""
        found = self._table.find(request_id, number)
        if found is not None:
            self.on_stopped(*found, now)

    def on_stopped(self, tracked: TrackedRequest, attempt: DispatchedAttempt, now: float) -> None:
        """Take a stopped attempt off its engine; end the request unless another attempt runs."""
        interrupted = self._interruption.on_stopped(tracked, attempt, now)
        self._table.release(attempt, Verdict.NEUTRAL, now)
        if not self._hedging.remove_attempt(tracked, attempt, now):
            self._table.end(tracked, Outcome.INTERRUPTED if interrupted else Outcome.CANCELLED, now)

    def _begin(
        self,
        tracked: TrackedRequest,
        attempt: DispatchedAttempt,
        now: float,
        used: TokensUsed,
        ttft_seconds: float | None,
        *,
        resumable: bool = False,
    ) -> None:
        if attempt.begun:
            return
        self._hedging.on_began(tracked, attempt, now)
        seconds = now - attempt.dispatched_at if ttft_seconds is None else ttft_seconds
        entry = self._engines.begin(attempt, now, seconds)
        attempt.resumable = resumable
        self._interruption.on_begun(attempt, used, now)
        if not entry.free:
            self._table.refresh_begun(entry)
        self._log.began(tracked.request_id, attempt.engine_id, seconds, attempt.predicted_ttft, now)
