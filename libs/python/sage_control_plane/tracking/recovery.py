"""Recovery of requests: failed attempts, lost engines, and requests that an earlier leader dispatched."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from sage_common.errors import DeadlineExceededError, EngineFailedError, ErrorKind, SageError, UnavailableError
from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.breaker import Verdict
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.request.catalog import given_up
from sage_control_plane.request.engine_state import EnginePhase, RunningRequest
from sage_control_plane.request.request import PendingRequest, Route
from sage_control_plane.tracking.cooling import asks_for_pause
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decision_outbox import DecisionOutbox
from sage_control_plane.tracking.decisions import Outcome
from sage_control_plane.tracking.hedging import Hedging
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.retry_budget import RetryBudget
from sage_control_plane.tracking.settings import RetrySettings
from sage_control_plane.tracking.timers import Timers
from sage_control_plane.tracking.tracked_request import RequestState, TrackedRequest

# Statuses of a server that has done nothing for the request: no such model, too many requests, no room.
_TURNED_AWAY = (404, 429, 503)
# Code of an engine's refusal to go on with another's answer.
_CANNOT_CONTINUE = "engine_cannot_continue"


class Recovery:
    """Decides whether a request is tried again."""

    def __init__(
        self,
        table: RequestTable,
        outbox: DecisionOutbox,
        engines: EnginePool,
        queue: WorkQueue,
        timers: Timers,
        hedging: Hedging,
        log: DecisionLog,
        settings: RetrySettings,
        random: Random,
    ) -> None:
        self._table = table
        self._outbox = outbox
        self._engines = engines
        self._queue = queue
        self._absence = timers.absence
        self._hedging = hedging
        self._log = log
        self._settings = settings
        self._random = random
        self.budget = RetryBudget(settings.ratio, settings.floor_per_second)
        timers.expiry.on_due = self._on_expired
        timers.backoff.on_due = self._on_backed_off
        timers.absence.on_due = self._on_absent

    def on_failed(self, tracked: TrackedRequest, error: SageError, now: float) -> None:
        """Try a request again whose only attempt failed before its first byte, or end it.

        An engine that broke off or could not be reached counts as lost: see ``on_lost`` for the retry budget. Where a
        server has no room, or no longer the model, the request goes at once to an engine that has room and has not
        failed it; that costs nothing and is neither charged nor counted, since each engine is asked once. So does the
        rest of an answer that the engine may not continue, at once or when another has room. Where all of its engines
        have asked for a pause, their word is the answer.
        """
        if tracked.request is not None and error.code == _CANNOT_CONTINUE:
            self._table.enqueue(tracked, tracked.request, now)
            return
        if tracked.request is not None and error.upstream_status in _TURNED_AWAY and self._has_room_elsewhere(tracked):
            self._table.enqueue(tracked, tracked.request, now)
            return
        if tracked.request is not None and asks_for_pause(error) and not self._usable(tracked.request):
            # Its caller can wait as well as the queue, and is told for how long.
            self._close(tracked, _final(error, "no other engine takes its model now"), now)
            return
        lost = error.kind is ErrorKind.ENGINE_FAILED and not error.upstream_status
        refusal = self._refusal(tracked, error, now, spare=lost and not tracked.loss_spared)
        if lost:
            self._table.spare_loss(tracked)
        if tracked.request is None or refusal is not None:
            self._close(tracked, refusal, now)
        else:
            wait = self._settings.backoff.seconds(tracked.tries, self._random)
            self._table.back_off(tracked, tracked.request, now, min(now + wait, tracked.request.expires_at))

    def _usable(self, request: PendingRequest) -> bool:
        """Whether some engine of the request takes work, apart from its credits."""
        serving = self._engines.route(request.classification.route).serving
        return any(entry.usable for entry in serving.values())

    def _has_room_elsewhere(self, tracked: TrackedRequest) -> bool:
        if tracked.request is None:
            return False
        free = self._engines.route(tracked.request.classification.route).free.engines
        return any(entry.engine_id not in tracked.avoided for entry in free)

    def on_unlisted(self, attempt: DispatchedAttempt, now: float) -> None:
        """Recover a request whose engine does not list it any more."""
        self._outbox.abort(attempt, "its engine does not list it", one_engine=True)
        self._table.release(attempt, Verdict.NEUTRAL, now)
        self.on_lost(attempt, f"engine {attempt.engine_id!r} does not run the request any more", now)

    def on_lost(self, attempt: DispatchedAttempt, reason: str, now: float) -> None:
        """Recover a request whose attempt, already off its engine, was lost: the engine is gone or does not run it.

        Once the answer has begun, recovery is the edge's. Before that the request is queued again at once. The first
        such loss is not charged to the retry budget, since nothing has failed that is tried again.
        """
        tracked = self._table.get(attempt.request_id)
        if tracked is None:
            return
        error = EngineFailedError(f"{reason}; send the request again", code="engine_lost")
        self._log.attempt_failed(tracked.request_id, attempt.number, error)
        if self._hedging.remove_attempt(tracked, attempt, now):
            return
        if attempt.begun:
            error = EngineFailedError(
                f"{reason}, after the answer had begun; send the request again", code="engine_lost", retryable=True
            )
            self._close(tracked, error, now)
            return
        refusal = self._refusal(tracked, error, now, spare=not tracked.loss_spared)
        self._table.spare_loss(tracked)
        if tracked.request is None or refusal is not None:
            self._close(tracked, refusal, now)
        else:
            self._table.enqueue(tracked, tracked.request, now)

    def _refusal(self, tracked: TrackedRequest, error: SageError, now: float, *, spare: bool) -> SageError | None:
        """Return the error that ends the request; None when it may be tried again.

        Hedges do not count as tries: two attempts may be lost with one executor.

        Args:
            spare: whether to leave the retry budget alone.
        """
        if tracked.tries - tracked.hedges >= self._settings.max_tries:
            return _final(error, f"gave up after {tracked.tries} tries")
        if not spare and not self.budget.withdraw(now):
            return _final(error, "not tried again: the retry budget is spent")
        return None

    def _close(self, tracked: TrackedRequest, error: SageError | None, now: float) -> None:
        if tracked.request is None or error is None:
            # Adopted from a heartbeat and never submitted here: its edge detects the loss.
            self._table.end(tracked, Outcome.LOST, now)
        else:
            self._table.refuse(tracked, error, now)

    # Time

    def _on_expired(self, request_id: str, now: float) -> None:
        tracked = self._table.get(request_id)
        if tracked is None:
            return
        self._table.unqueue(tracked)
        waited = tracked.waited_seconds + now - tracked.waiting_since
        absence = self._why_not_ready(tracked)
        error = DeadlineExceededError(
            f"the request waited {waited:.1f} s for an engine and its time-out passed; "
            + (
                f"{absence}: send it again when it is ready"
                if absence
                else "send it again when there is less load, or with a longer time-out"
            ),
            code="expired_in_queue",
        )
        self._table.refuse(tracked, error, now)

    def on_shed(self, tracked: TrackedRequest, refusal: SageError, now: float) -> None:
        """Refuse a queued request that the policy gives up; where no engine of its model is ready, with the reason."""
        self._table.unqueue(tracked)
        absence = self._why_not_ready(tracked)
        if absence:
            refusal = UnavailableError(
                f"{absence}; send it again when it is ready", code="engine_not_ready", retry_after_seconds=1
            )
        self._table.refuse(tracked, refusal, now)

    def _why_not_ready(self, tracked: TrackedRequest) -> str:
        """Return what keeps the engines of a request's route from work; empty where one of them is ready."""
        states = () if tracked.lane is None else self._engines.route(tracked.lane.route).not_ready
        starting = [state for state in states if state.phase is EnginePhase.STARTING]
        reasons = sorted(f"{state.spec.name}: {state.why or state.phase.name.lower()}" for state in starting or states)
        if not reasons:
            return ""
        return f"its model is {'still loading' if starting else 'not served now'} ({'; '.join(reasons)})"

    def _on_backed_off(self, request_id: str, now: float) -> None:
        tracked = self._table.get(request_id)
        if tracked is None or tracked.request is None:
            raise ValueError(f"request {request_id!r} backs off, but was never submitted")
        route = tracked.request.classification.route
        if self.awaited(route):
            self._table.enqueue(tracked, tracked.request, now)
        else:
            self._table.refuse(tracked, self.refusal_for(route), now)

    # Repeated and adopted requests

    def supersede(self, tracked: TrackedRequest, now: float) -> None:
        """Stop and forget an old submission: the edge has submitted its request again."""
        attempt = tracked.attempt
        if attempt is not None:
            self._hedging.on_ended(tracked, now)
            self._outbox.abort(attempt, "superseded by a later submission")
            self._table.release(attempt, Verdict.NEUTRAL, now)
        self._table.forget(tracked)

    def adopt(self, running: RunningRequest, entry: EngineEntry, now: float) -> None:
        """Track a request that an engine runs for an earlier leader."""
        tracked = self._table.get(running.request_id)
        waits = tracked is not None and tracked.state is not RequestState.RUNNING and not tracked.tries
        # A request submitted again before this heartbeat came runs already and need not queue.
        if tracked is None or (waits and tracked.submission == running.attempt.submission):
            self._table.adopt(running, entry, now)
        else:
            self._hedging.adopt(tracked, running, entry, now)

    # Absent engines

    def awaited(self, route: Route) -> bool:
        """Return whether some engine serves the route, may do so again, or did within ``absence_seconds``."""
        engines = self._engines.route(route)
        return engines.recoverable or (route in self._absence and not engines.failures)

    def refusal_for(self, route: Route) -> UnavailableError:
        """Return the error for a model without an engine; with the reasons where all of its engines were given up."""
        failures = self._engines.route(route).failures
        return given_up(route.model, failures) if failures else no_engine_serves(route)

    def watch(self, routes: Iterable[Route], now: float) -> None:
        """Arm or disarm the timer of absence for routes whose engines have changed."""
        for route in routes:
            engines = self._engines.route(route)
            if engines.recoverable:
                self._absence.disarm(route)
            elif engines.failures:
                # None of them comes back by itself, so there is nothing to wait for.
                self._absence.disarm(route)
                self._on_absent(route, now)
            else:
                self._absence.arm_once(route, now + self._settings.absence_seconds)

    def _on_absent(self, route: Route, now: float) -> None:
        """Refuse the requests queued for a route that no engine has served for ``absence_seconds``."""
        for request_id in self._queue.queued_for(route):
            tracked = self._table.get(request_id)
            if tracked is not None:
                self._table.unqueue(tracked)
                self._table.refuse(tracked, self.refusal_for(route), now)


def no_engine_serves(route: Route) -> UnavailableError:
    """Return the error for a model without an engine."""
    return UnavailableError(
        f"no engine serves the model {route.model!r} for {route.kind.name.lower()}; `sage status` shows the engines",
        code="no_engine",
        retry_after_seconds=1,
    )


def _final(error: SageError, why: str) -> SageError:
    """Return the error as one that is not retryable: edges must not multiply what the retry budget has stopped."""
    return type(error)(
        f"{error.message} ({why})",
        code=error.code,
        param=error.param,
        retry_after_seconds=error.retry_after_seconds,
        retryable=False,
        upstream_status=error.upstream_status,
        upstream_body=error.upstream_body,
    )
