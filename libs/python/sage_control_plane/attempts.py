"""What executors report of attempts: begun, finished, failed, cancelled."""

from __future__ import annotations

from sage_common.errors import SageError
from sage_control_plane.breaker import Blame, blame
from sage_control_plane.decisions import Outcome
from sage_control_plane.engine_book import EngineBook
from sage_control_plane.hedging import Hedging
from sage_control_plane.jobs import Job, JobState
from sage_control_plane.ledger import Ledger
from sage_control_plane.recovery import Recovery
from sage_control_plane.requests import Attempt


class Attempts:
    """Carries reports into the books, and what they teach into the predictions."""

    def __init__(self, ledger: Ledger, recovery: Recovery, hedging: Hedging) -> None:
        self._ledger = ledger
        self._recovery = recovery
        self._hedging = hedging

    def current(self, request_id: str, attempt: Attempt) -> Job | None:
        """The job that this attempt is at, if it runs; word of another attempt comes late."""
        job = self._ledger.jobs.get(request_id)
        if job is None:
            return None
        if job.state is JobState.RUNNING and job.attempt == attempt:
            return job
        hedge = self._ledger.hedges.get(request_id)
        return hedge if hedge is not None and hedge.attempt == attempt else None

    def cancelled_on(self, engine_id: str, request_id: str, up_to: Attempt | None, now: float) -> None:
        """The attempt that runs on this engine, unless it is a later one, is stopped."""
        for job in (self._ledger.jobs.get(request_id), self._ledger.hedges.get(request_id)):
            if job is not None and job.state is JobState.RUNNING and job.engine_id == engine_id:
                if up_to is None or job.attempt <= up_to:
                    self.cancelled(job, now)
                return

    def completing(self, request_id: str, attempt: Attempt, now: float, ttft_seconds: float) -> Job | None:
        """The attempt of which one report tells that it has begun and is complete."""
        job = self.current(request_id, attempt)
        if job is None:
            self._hedging.began_too(request_id, attempt, now, ttft_seconds)
            job = self.current(request_id, attempt)
        return job

    def first_token(self, job: Job, now: float, ttft_seconds: float) -> None:
        """The first byte of an answer left, so long after the engine got the request; 0 when it did not say."""
        if job.begun:
            return
        self._hedging.began(job, now)
        seconds = ttft_seconds or now - job.dispatched_at
        book = self._ledger.roster.books[job.engine_id]
        self._ledger.roster.learn_begin(book, job, now, seconds)
        if not book.free:
            self._ledger.freed(book)
        self._ledger.log.began(job.request_id, job.engine_id, seconds, job.predicted_ttft, now)

    def begun_unheard(self, job: Job, now: float) -> None:
        """A heartbeat says that the answer has begun; the word of its first token was lost, and with it its time."""
        if not job.begun:
            self._hedging.began(job, now)
            self._ledger.roster.learn_begin(self._ledger.roster.books[job.engine_id], job, now, None)

    def finished(self, job: Job, now: float, used: tuple[int, int], ttft_seconds: float) -> None:
        """An answer is complete."""
        ledger = self._ledger
        self.first_token(job, now, ttft_seconds)
        book = ledger.roster.books[job.engine_id]
        ledger.roster.learn_finish(book, job, now, used[1])
        ledger.release(job)
        book.breaker.succeeded()
        self._settle(job, used)
        ledger.freed(book)
        self._hedging.completed(job)
        ledger.end(job, Outcome.FINISHED, now)

    def failed(self, job: Job, error: SageError, now: float, *, started_replying: bool) -> None:
        """An attempt failed; with another running, only that. Else a retryable failure is tried on another engine,
        unless bytes have left."""
        ledger = self._ledger
        ledger.log.attempt_failed(job.request_id, job.attempt, error)
        book = ledger.release(job)
        self._blame(book, error, now)
        ledger.freed(book)
        if self._hedging.survives(job, now):
            return
        if not started_replying and error.retryable:
            self._recovery.failed(job, error, now)
            return
        ledger.refund(job)
        if job.hedged and not started_replying:
            # The edge has had the executor's error, but waits for another attempt unless it is told that none runs.
            ledger.refuse(job.request_id, job.submission, error, now)
        else:
            # The executor has given the error to the edge as the answer.
            ledger.end(job, Outcome.FAILED, now)

    def cancelled(self, job: Job, now: float) -> None:
        """An attempt was stopped because somebody said so: the request ends, unless another attempt runs."""
        ledger = self._ledger
        book = ledger.release(job)
        book.breaker.neutral()
        ledger.freed(book)
        if not self._hedging.survives(job, now):
            ledger.end(job, Outcome.CANCELLED, now)

    def unheard(self, engine_id: str) -> None:
        """An engine has not been heard for a while: what it said of its own queue counts no more."""
        book = self._ledger.roster.books.get(engine_id)
        if book is not None:
            book.credits.uncorrect()
            self._ledger.freed(book)

    def _settle(self, job: Job, used: tuple[int, int]) -> None:
        """Correct the tenant's charge to what was used."""
        request = job.request
        if request is None:
            return
        ledger, classification = self._ledger, request.classification
        uncached_tokens = job.uncached_tokens
        if used[0] and classification.input_tokens and not job.adopted:
            uncached_tokens *= used[0] / classification.input_tokens
        cost = ledger.roster.prices.seconds(classification.route, uncached_tokens, used[1] or job.output_tokens)
        ledger.queue.policy.settled(request, cost - job.charged_seconds)
        ledger.lengths.learn(request.tenant, classification, used[1])

    def _blame(self, book: EngineBook, error: SageError, now: float) -> None:
        if blame(error) is Blame.NONE:
            book.breaker.neutral()
            return
        book.breaker.failed()
        if book.breaker.tripped and self._ledger.roster.may_eject(book):
            self._ledger.deadlines.arm("breaker", book.engine_id, now + book.breaker.open())
