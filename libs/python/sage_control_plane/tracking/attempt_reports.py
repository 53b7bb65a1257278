"""What executors report of attempts: begun, finished, failed, cancelled."""

from __future__ import annotations

from sage_common.errors import SageError
from sage_control_plane.pool.breaker import Verdict, verdict_of
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.request.request import Attempt
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decisions import Outcome
from sage_control_plane.tracking.hedging import Hedging
from sage_control_plane.tracking.recovery import Recovery
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.tracked_request import TrackedRequest


class AttemptReports:
    """Carries reports into the table, and what they teach into the predictions.

    A report of an attempt that does not run comes late and changes nothing.
    """

    def __init__(
        self,
        table: RequestTable,
        engines: EnginePool,
        learning: PoolLearning,
        recovery: Recovery,
        hedging: Hedging,
        log: DecisionLog,
    ) -> None:
        self._table = table
        self._engines = engines
        self._learning = learning
        self._recovery = recovery
        self._hedging = hedging
        self._log = log

    def first_token(self, request_id: str, number: Attempt, now: float, ttft_seconds: float) -> None:
        """The first byte of an answer has left, ``ttft_seconds`` after the engine got the request; 0 when not said."""
        found = self._table.find(request_id, number)
        if found is None:
            self._hedging.began_too(request_id, number, now, ttft_seconds)
        else:
            self._begin(*found, now, ttft_seconds)

    def begun_without_report(self, attempt: DispatchedAttempt, now: float) -> None:
        """A heartbeat lists an answer as begun whose first token was not reported, and with it its time."""
        tracked = self._table.get(attempt.request_id)
        if tracked is not None and not attempt.begun:
            self._hedging.began(tracked, attempt, now)
            self._engines.begin(attempt, now, None)

    def finished(
        self, request_id: str, number: Attempt, now: float, used: tuple[int, int], ttft_seconds: float
    ) -> None:
        """An answer is complete; ``used`` is input and output tokens, 0 for what is not known."""
        found = self._table.find(request_id, number)
        if found is None:
            # One report may tell of an attempt both that it has begun and that it is complete.
            self._hedging.began_too(request_id, number, now, ttft_seconds)
            found = self._table.find(request_id, number)
            if found is None:
                return
        tracked, attempt = found
        self._begin(tracked, attempt, now, ttft_seconds)
        self._learning.finished(self._engines.entries[attempt.engine_id], attempt, now, used[1])
        self._table.release(attempt, Verdict.SUCCEEDED, now)
        self._table.settle(tracked, attempt, used)
        self._hedging.completed(tracked, attempt, now)
        self._table.end(tracked, Outcome.FINISHED, now)

    def failed(self, request_id: str, number: Attempt, error: SageError, now: float, *, started_replying: bool) -> None:
        """An attempt has failed; with another running, only that.

        Alone, a retryable failure is tried on another engine, unless bytes have left.
        """
        found = self._table.find(request_id, number)
        if found is None:
            return
        tracked, attempt = found
        self._log.attempt_failed(request_id, number, error)
        self._table.release(attempt, verdict_of(error), now)
        if self._hedging.survives(tracked, attempt, now):
            return
        if not started_replying and error.retryable:
            self._recovery.failed(tracked, error, now)
            return
        self._table.refund(tracked)
        if tracked.hedged and not started_replying:
            # The edge has had the executor's error, but waits for another attempt until it learns that none runs.
            self._table.refuse(tracked, error, now)
        else:
            # The executor has given the error to the edge as the answer.
            self._table.end(tracked, Outcome.FAILED, now)

    def cancelled(self, request_id: str, number: Attempt, now: float) -> None:
        """An executor has stopped an attempt because of a cancellation."""
        found = self._table.find(request_id, number)
        if found is not None:
            self.stopped(*found, now)

    def stopped(self, tracked: TrackedRequest, attempt: DispatchedAttempt, now: float) -> None:
        """Take a stopped attempt off its engine: the request ends, unless another attempt runs."""
        self._table.release(attempt, Verdict.NEUTRAL, now)
        if not self._hedging.survives(tracked, attempt, now):
            self._table.end(tracked, Outcome.CANCELLED, now)

    def _begin(self, tracked: TrackedRequest, attempt: DispatchedAttempt, now: float, ttft_seconds: float) -> None:
        if attempt.begun:
            return
        self._hedging.began(tracked, attempt, now)
        seconds = ttft_seconds or now - attempt.dispatched_at
        entry = self._engines.begin(attempt, now, seconds)
        if not entry.free:
            self._table.freed(entry)
        self._log.began(tracked.request_id, attempt.engine_id, seconds, attempt.predicted_ttft, now)
