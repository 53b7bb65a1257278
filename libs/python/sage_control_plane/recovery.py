"""What happens to a request when an attempt fails, an engine is lost, or a new leader finds work under way."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from sage_common.errors import DeadlineExceededError, EngineFailedError, ErrorKind, SageError, UnavailableError
from sage_control_plane.decisions import Outcome
from sage_control_plane.engine_book import EngineBook
from sage_control_plane.engines import RunningRequest
from sage_control_plane.hedging import Hedging
from sage_control_plane.jobs import Job, JobState
from sage_control_plane.lanes import Lane
from sage_control_plane.ledger import Ledger
from sage_control_plane.requests import PendingRequest, Route
from sage_control_plane.retry_budget import RetryBudget
from sage_control_plane.settings import ControlSettings


class Recovery:
    """The rules of trying again."""

    def __init__(self, ledger: Ledger, hedging: Hedging, settings: ControlSettings, random: Random) -> None:
        self._ledger = ledger
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
            self._ledger.back_off(job, now, min(now + wait, job.request.expires_at))

    def resume(self, job: Job, now: float) -> None:
        """A job's back-off is over."""
        if job.request is None:
            raise ValueError(f"job {job.request_id!r} backs off, but was never submitted")
        route = job.request.classification.route
        if self.awaited(route):
            self._ledger.enqueue(job, job.request, now)
        else:
            self._ledger.refuse(job.request_id, job.submission, nobody_serves(route), now)

    def lost(self, job: Job, reason: str, now: float) -> None:
        """The engine went away with the job. The job is off its engine.

        Once the answer has begun its edge owns recovery. Before that the job goes on elsewhere at once, and the first
        such loss is made good whatever the retry budget: it is no retry of something that failed.
        """
        error = EngineFailedError(f"{reason}; send the request again", code="engine_lost")
        self._ledger.log.attempt_failed(job.request_id, job.attempt, error)
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
            self._ledger.enqueue(job, job.request, now)

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
            self._ledger.end(job, Outcome.LOST, now)
        else:
            self._ledger.refuse(job.request_id, job.submission, error, now)

    def expired(self, job: Job, now: float) -> None:
        """A queued job's time is up."""
        self._ledger.queue.leave(job)
        waited = job.waited_seconds + now - job.waiting_since
        error = DeadlineExceededError(
            f"the request waited {waited:.1f} s for an engine and its time-out passed; "
            "send it again when there is less load, or with a longer time-out",
            code="expired_in_queue",
        )
        self._ledger.refuse(job.request_id, job.submission, error, now)

    # Repeated and inherited requests

    def supersede(self, job: Job) -> None:
        """The edge has submitted the job's request anew: what there is of the old submission stops."""
        ledger = self._ledger
        ledger.refund(job)
        if job.state is JobState.RUNNING:
            self._hedging.ended(job)
            ledger.abort(job, "superseded by a later submission")
            book = ledger.release(job)
            book.breaker.neutral()
            ledger.freed(book)
        else:
            ledger.unqueue(job)
        del ledger.jobs[job.request_id]

    def know(self, job: Job, request: PendingRequest) -> None:
        """The submission of a job that was found running has come."""
        job.request = request
        job.lane = Lane(request.classification.route)
        # From here on the absence of engines for its route is watched.
        self._ledger.roster.route(job.lane.route)

    def adopt(self, running: RunningRequest, book: EngineBook, now: float) -> None:
        """An engine runs a request for an earlier leader: take it into the books."""
        ledger = self._ledger
        job = ledger.jobs.get(running.request_id)
        if job is None:
            job = Job(running.request_id, running.attempt.submission, running.tokens)
            ledger.jobs[job.request_id] = job
        elif job.submission == running.attempt.submission and job.state is not JobState.RUNNING and not job.tries:
            # Submitted again before this heartbeat came: it runs already, so it need not queue.
            ledger.unqueue(job)
        else:
            self._hedging.adopted(job, running, book, now)
            return
        job.state = JobState.RUNNING
        job.tries = 1
        job.engine_id = book.engine_id
        job.attempt = running.attempt
        job.dispatched_at = now
        job.begun = running.started_replying
        job.adopted = True
        ledger.log.adopted(job.request_id, job.engine_id, now)
        ledger.charge(job, book, now)

    # Engines that are gone

    def awaited(self, route: Route) -> bool:
        """Whether some engine serves the route, may come to, or did so a moment ago."""
        return self._ledger.roster.route(route).hopeful or ("absence", route) in self._ledger.deadlines

    def watch(self, routes: Iterable[Route], now: float) -> None:
        """Something changed for the engines of these routes: start or stop the clock on their absence."""
        ledger = self._ledger
        for route in routes:
            if ledger.roster.route(route).hopeful:
                ledger.deadlines.disarm("absence", route)
            else:
                ledger.deadlines.arm_once("absence", route, now + self._settings.absence_seconds)

    def give_up(self, route: Route, now: float) -> None:
        """No engine has served the route for too long."""
        for job in self._ledger.queue.queued_for(route):
            self._ledger.unqueue(job)
            self._ledger.refuse(job.request_id, job.submission, nobody_serves(route), now)


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
