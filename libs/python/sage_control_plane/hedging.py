"""Hedging: a second attempt, elsewhere, at a request whose first token is long overdue."""

from __future__ import annotations

from dataclasses import replace

from sage_common.errors import CancelledError
from sage_control_plane.engine_book import EngineBook
from sage_control_plane.engines import RunningRequest
from sage_control_plane.jobs import Job, JobState
from sage_control_plane.ledger import Ledger
from sage_control_plane.requests import Attempt
from sage_control_plane.retry_budget import RetryBudget
from sage_control_plane.settings import ControlSettings


class Hedging:
    """Decides when both attempts run, and which goes on (Dean and Barroso, The Tail at Scale, CACM 2013).

    A request is hedged only before its first token, and inside a budget that is a share of the requests. The attempt
    with the first token wins and the other is aborted, unless it has begun meanwhile: which of two begun attempts the
    client reads only the edge knows, and it stops the other. If one of them fails the other goes on alone.
    """

    def __init__(self, ledger: Ledger, settings: ControlSettings) -> None:
        self._ledger = ledger
        self._factor = settings.hedge_factor
        self._least_seconds = settings.hedge_least_seconds
        self._max_tries = settings.max_tries
        self._enabled = settings.hedge_ratio > 0
        self._budget = RetryBudget(settings.hedge_ratio, 0.0, burst=20.0)

    # When

    def dispatched(self, job: Job, now: float) -> None:
        """A request went to an engine: watch for its first token, if it is known when that is due."""
        if not self._enabled:
            return
        if job.tries == 1:
            self._budget.deposit()
        expected = self._expected_seconds(job)
        if expected is not None:
            wait = max(self._least_seconds, self._factor * expected)
            self._ledger.deadlines.arm("hedge", job.request_id, now + wait)

    def due(self, job: Job, now: float) -> None:
        """A request's first token is overdue. Where no engine is free, or the budget spent, it is looked at again."""
        ledger = self._ledger
        if job.begun or job.request_id in ledger.hedges or job.tries >= self._max_tries:
            return
        if not ledger.place_hedge(job, lambda: self._budget.withdraw(now), now):
            wait = max(self._least_seconds, now - job.dispatched_at)
            ledger.deadlines.arm("hedge", job.request_id, now + wait)

    def _expected_seconds(self, job: Job) -> float | None:
        """Expected time to the first byte of the answer; None while nothing trustworthy is known."""
        if job.request is None or job.request.classification.sheddable:
            return None
        classification = job.request.classification
        if classification.shows_beginning:
            return job.predicted_ttft
        # The first byte of an answer in one piece comes with its last.
        forecast = self._ledger.roster.books[job.engine_id].forecast
        prompt = forecast.ttft_seconds(classification.generates, job.uncached_tokens)
        each = forecast.tpot_seconds()
        return None if prompt is None or each is None else prompt + each * job.output_tokens

    # Which

    def began(self, job: Job, now: float) -> None:
        """An attempt has its first token: abort the other, if there is one that has not."""
        ledger = self._ledger
        ledger.deadlines.disarm("hedge", job.request_id)
        twin = self._twin(job)
        if twin is None or twin.begun:
            return
        book = ledger.roster.books.get(twin.engine_id)
        if book is not None and not twin.adopted:
            # It would have taken longer still. Left out, only an engine's quick answers would be learned from, and
            # the slower it is the better it would look.
            ledger.roster.learn_overdue(book, twin, now)
        del ledger.hedges[job.request_id]
        self._drop(twin, "another attempt was faster", unbegun=True)
        self._alone(job, twin)
        job.loser = twin

    def began_too(self, request_id: str, attempt: Attempt, now: float, ttft_seconds: float) -> None:
        """An attempt that lost had begun before its abort reached it: both run until the edge stops one of them."""
        ledger = self._ledger
        job = ledger.jobs.get(request_id)
        loser = None if job is None or job.state is not JobState.RUNNING else job.loser
        book = None if loser is None or loser.attempt != attempt else ledger.roster.books.get(loser.engine_id)
        if job is None or loser is None or book is None:
            return
        job.loser = None
        loser.begun = True
        ledger.charge(loser, book, now)
        ledger.roster.learn_begin(book, loser, now, ttft_seconds or now - loser.dispatched_at)
        ledger.hedges[request_id] = loser

    def survives(self, job: Job, now: float) -> bool:
        """An attempt has failed, was stopped or is lost, and is off its engine: return whether the other goes on."""
        ledger = self._ledger
        twin = self._twin(job)
        if twin is None:
            ledger.deadlines.disarm("hedge", job.request_id)
            return False
        del ledger.hedges[job.request_id]
        twin.avoided |= {job.engine_id}
        self._alone(twin, job)
        if twin.begun:
            seconds = twin.begun_at - twin.dispatched_at
            ledger.log.began(twin.request_id, twin.engine_id, seconds, twin.predicted_ttft, now)
        return True

    def ended(self, job: Job) -> None:
        """A request ends without an answer: whatever other attempt runs is aborted."""
        self._ledger.deadlines.disarm("hedge", job.request_id)
        twin = self._twin(job)
        if twin is not None:
            del self._ledger.hedges[job.request_id]
            self._ledger.jobs[job.request_id] = job
            self._drop(twin, "the request has ended", unbegun=False)

    def completed(self, job: Job) -> None:
        """An answer is complete. Another that has begun may be the one that the client reads: it runs on, unbooked."""
        self._ledger.deadlines.disarm("hedge", job.request_id)
        twin = self._twin(job)
        if twin is not None:
            del self._ledger.hedges[job.request_id]
            self._release(twin)

    def adopted(self, job: Job, running: RunningRequest, book: EngineBook, now: float) -> bool:
        """A second engine runs an attempt at a running job, for an earlier leader; return whether it is a twin.

        Two that are in the air when a leader is lost race on under the next.
        """
        ledger = self._ledger
        if job.state is not JobState.RUNNING or job.submission != running.attempt.submission:
            return False
        if job.engine_id == book.engine_id or job.request_id in ledger.hedges:
            return False
        job.hedged = True
        job.hedges += 1
        twin = replace(
            job,
            tokens=running.tokens,
            engine_id=book.engine_id,
            attempt=running.attempt,
            tries=job.tries + 1,
            dispatched_at=now,
        )
        twin.leave_engine()
        twin.adopted = True
        twin.begun, twin.begun_at = running.started_replying, now
        ledger.hedges[job.request_id] = twin
        ledger.charge(twin, book, now)
        if job.begun or twin.begun:
            self.began(job if job.begun else twin, now)
        return True

    def _twin(self, job: Job) -> Job | None:
        """The attempt that runs beside this one."""
        hedge = self._ledger.hedges.get(job.request_id)
        return self._ledger.jobs[job.request_id] if hedge is job else hedge

    def _alone(self, job: Job, other: Job) -> None:
        """An attempt goes on without the other."""
        job.tries = max(job.tries, other.tries)
        self._ledger.jobs[job.request_id] = job

    def _drop(self, loser: Job, reason: str, *, unbegun: bool) -> None:
        ledger = self._ledger
        error = CancelledError(reason, code="hedge_lost")
        ledger.log.attempt_failed(loser.request_id, loser.attempt, error)
        if loser.engine_id in ledger.roster.books:
            ledger.abort(loser, reason, engine_id=loser.engine_id, unbegun=unbegun)
            self._release(loser)

    def _release(self, loser: Job) -> None:
        book = self._ledger.release(loser)
        book.breaker.neutral()
        self._ledger.freed(book)
