"""What happens to a request when an attempt fails, an engine is lost, or a new leader finds work under way."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from sage_common.errors import DeadlineExceededError, EngineFailedError, ErrorKind, SageError, UnavailableError
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import PendingRequest, Route
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.decisions import Outcome
from sage_control_plane.tracking.hedging import Hedging
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.retry_budget import RetryBudget
from sage_control_plane.tracking.tracked_request import Job, JobState


class Recovery:
    """The rules of trying again."""

    def __init__(self, table: RequestTable, hedging: Hedging, settings: ControlSettings, random: Random) -> None:
        self._table = table
        self._hedging = hedging
        self._settings = settings
        self._random = random
        self.budget = RetryBudget(settings.retry_ratio, settings.retry_floor_per_second)

    def failed(self, job: Job, error: SageError, now: float) -> None:
        """An attempt failed before the first byte and another engine may succeed. The job is off its engine.

        Where the engine broke off, or could not be reached, it is lost: see ``lost`` for the retry budget.
        """
        job.avoided |= {job.engine_id}
        lost = error.kind is ErrorKind.ENGINE_FAILED and not error.upstream_status
        refusal = self._refusal(job, error, now, spare=lost and not job.spared_loss)
        job.spared_loss = job.spared_loss or lost
        if job.request is None or refusal is not None:
            self._close(job, refusal, now)
        else:
            wait = self._settings.backoff.seconds(job.tries, self._random)
            self._table.back_off(job, now, min(now + wait, job.request.expires_at))

    def resume(self, job: Job, now: float) -> None:
        """A job's back-off is over."""
        if job.request is None:
            raise ValueError(f"job {job.request_id!r} backs off, but was never submitted")
        route = job.request.classification.route
        if self.awaited(route):
            self._table.enqueue(job, job.request, now)
        else:
            self._table.refuse(job.request_id, job.submission, nobody_serves(route), now)

    def lost(self, job: Job, reason: str, now: float) -> None:
        """The engine went away with the job. The job is off its engine.

        Once the answer has begun its edge owns recovery. Before that the job goes on elsewhere at once, and the first
        such loss is made good whatever the retry budget: it is no retry of something that failed.
        """
        error = EngineFailedError(f"{reason}; send the request again", code="engine_lost")
        self._table.log.attempt_failed(job.request_id, job.attempt, error)
        if self._hedging.survives(job, now):
            return
        if job.begun:
            error = EngineFailedError(
                f"{reason}, after the answer had begun; send the request again", code="engine_lost", retryable=True
            )
            self._close(job, error, now)
            return
        job.avoided |= {job.engine_id}
        refusal = self._refusal(job, error, now, spare=not job.spared_loss)
        job.spared_loss = True
        if job.request is None or refusal is not None:
            self._close(job, refusal, now)
        else:
            self._table.enqueue(job, job.request, now)

    def _refusal(self, job: Job, error: SageError, now: float, *, spare: bool) -> SageError | None:
        """Return the error that ends the job, or None when it may be tried again. ``spare`` the retry budget.

        Hedges do not count: two attempts may be lost with one executor.
        """
        if job.tries - job.hedges >= self._settings.max_tries:
            return _final(error, f"gave up after {job.tries} tries")
        if not spare and not self.budget.withdraw(now):
            return _final(error, "not tried again: the retry budget is spent")
        return None

    def _close(self, job: Job, error: SageError | None, now: float) -> None:
        if job.request is None or error is None:
            # Found running by a heartbeat and never submitted here: there is nobody to tell, and its edge watches it.
            self._table.end(job, Outcome.LOST, now)
        else:
            self._table.refuse(job.request_id, job.submission, error, now)

    def expired(self, job: Job, now: float) -> None:
        """A queued job's time is up."""
        self._table.queue.leave(job)
        waited = job.waited_seconds + now - job.waiting_since
        error = DeadlineExceededError(
            f"the request waited {waited:.1f} s for an engine and its time-out passed; "
            "send it again when there is less load, or with a longer time-out",
            code="expired_in_queue",
        )
        self._table.refuse(job.request_id, job.submission, error, now)

    # Repeated and inherited requests

    def supersede(self, job: Job) -> None:
        """The edge has submitted the job's request anew: what there is of the old submission stops."""
        table = self._table
        table.refund(job)
        if job.state is JobState.RUNNING:
            self._hedging.ended(job)
            table.abort(job, "superseded by a later submission")
            entry = table.release(job)
            entry.breaker.neutral()
            table.freed(entry)
        else:
            table.unqueue(job)
        del table.jobs[job.request_id]

    def attach(self, job: Job, request: PendingRequest) -> None:
        """The submission of a job that was found running has come."""
        job.request = request
        job.lane = Lane(request.classification.route)
        # From here on the absence of engines for its route is watched.
        self._table.engines.route(job.lane.route)

    def adopt(self, running: RunningRequest, entry: EngineEntry, now: float) -> None:
        """An engine runs a request for an earlier leader: take it into the entries."""
        table = self._table
        job = table.jobs.get(running.request_id)
        if job is None:
            job = Job(running.request_id, running.attempt.submission, running.tokens)
            table.jobs[job.request_id] = job
        elif job.submission == running.attempt.submission and job.state is not JobState.RUNNING and not job.tries:
            # Submitted again before this heartbeat came: it runs already, so it need not queue.
            table.unqueue(job)
        else:
            self._hedging.adopted(job, running, entry, now)
            return
        job.state = JobState.RUNNING
        job.tries = 1
        job.engine_id = entry.engine_id
        job.attempt = running.attempt
        job.dispatched_at = now
        job.begun = running.started_replying
        job.adopted = True
        table.log.adopted(job.request_id, job.engine_id, now)
        table.charge(job, entry, now)

    # Engines that are gone

    def awaited(self, route: Route) -> bool:
        """Whether some engine serves the route, may come to, or did so a moment ago."""
        return self._table.engines.route(route).recoverable or ("absence", route) in self._table.deadlines

    def watch(self, routes: Iterable[Route], now: float) -> None:
        """Something changed for the engines of these routes: start or stop the clock on their absence."""
        table = self._table
        for route in routes:
            if table.engines.route(route).recoverable:
                table.deadlines.disarm("absence", route)
            else:
                table.deadlines.arm_once("absence", route, now + self._settings.absence_seconds)

    def give_up(self, route: Route, now: float) -> None:
        """No engine has served the route for too long."""
        for job in self._table.queue.queued_for(route):
            self._table.unqueue(job)
            self._table.refuse(job.request_id, job.submission, nobody_serves(route), now)


def nobody_serves(route: Route) -> UnavailableError:
    """The error for a model without an engine."""
    return UnavailableError(
        f"no engine serves the model {route.model!r} for {route.kind.name.lower()}; `sage status` shows the engines",
        code="no_engine",
        retry_after_seconds=1,
    )


def _final(error: SageError, why: str) -> SageError:
    """The same error as the last word: an edge must not multiply what the retry budget has stopped."""
    return type(error)(
        f"{error.message} ({why})",
        code=error.code,
        param=error.param,
        retry_after_seconds=error.retry_after_seconds,
        retryable=False,
        upstream_status=error.upstream_status,
        upstream_body=error.upstream_body,
    )
