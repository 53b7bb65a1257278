"""What executors report of attempts: begun, finished, failed, cancelled."""

from __future__ import annotations

from sage_common.errors import SageError
from sage_control_plane.pool.breaker import Blame, blame
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.request.request import Attempt
from sage_control_plane.tracking.decisions import Outcome
from sage_control_plane.tracking.hedging import Hedging
from sage_control_plane.tracking.recovery import Recovery
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.tracked_request import Job, JobState


class Attempts:
    """Carries reports into the entries, and what they teach into the predictions."""

    def __init__(self, table: RequestTable, recovery: Recovery, hedging: Hedging) -> None:
        self._table = table
        self._recovery = recovery
        self._hedging = hedging

    def current(self, request_id: str, attempt: Attempt) -> Job | None:
        """The job that this attempt is at, if it runs; word of another attempt comes late."""
        job = self._table.jobs.get(request_id)
        if job is None:
            return None
        if job.state is JobState.RUNNING and job.attempt == attempt:
            return job
        hedge = self._table.hedges.get(request_id)
        return hedge if hedge is not None and hedge.attempt == attempt else None

    def cancelled_on(self, engine_id: str, request_id: str, up_to: Attempt | None, now: float) -> None:
        """The attempt that runs on this engine, unless it is a later one, is stopped."""
        for job in (self._table.jobs.get(request_id), self._table.hedges.get(request_id)):
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
        entry = self._table.engines.entries[job.engine_id]
        self._table.engines.learn_begin(entry, job, now, seconds)
        if not entry.free:
            self._table.freed(entry)
        self._table.log.began(job.request_id, job.engine_id, seconds, job.predicted_ttft, now)

    def begun_without_report(self, job: Job, now: float) -> None:
        """A heartbeat says that the answer has begun; the word of its first token was lost, and with it its time."""
        if not job.begun:
            self._hedging.began(job, now)
            self._table.engines.learn_begin(self._table.engines.entries[job.engine_id], job, now, None)

    def finished(self, job: Job, now: float, used: tuple[int, int], ttft_seconds: float) -> None:
        """An answer is complete."""
        table = self._table
        self.first_token(job, now, ttft_seconds)
        entry = table.engines.entries[job.engine_id]
        table.engines.learn_finish(entry, job, now, used[1])
        table.release(job)
        entry.breaker.succeeded()
        self._settle(job, used)
        table.freed(entry)
        self._hedging.completed(job)
        table.end(job, Outcome.FINISHED, now)

    def failed(self, job: Job, error: SageError, now: float, *, started_replying: bool) -> None:
        """An attempt failed; with another running, only that. Else a retryable failure is tried on another engine,
        unless bytes have left."""
        table = self._table
        table.log.attempt_failed(job.request_id, job.attempt, error)
        entry = table.release(job)
        self._blame(entry, error, now)
        table.freed(entry)
        if self._hedging.survives(job, now):
            return
        if not started_replying and error.retryable:
            self._recovery.failed(job, error, now)
            return
        table.refund(job)
        if job.hedged and not started_replying:
            # The edge has had the executor's error, but waits for another attempt unless it is told that none runs.
            table.refuse(job.request_id, job.submission, error, now)
        else:
            # The executor has given the error to the edge as the answer.
            table.end(job, Outcome.FAILED, now)

    def cancelled(self, job: Job, now: float) -> None:
        """An attempt was stopped because somebody said so: the request ends, unless another attempt runs."""
        table = self._table
        entry = table.release(job)
        entry.breaker.neutral()
        table.freed(entry)
        if not self._hedging.survives(job, now):
            table.end(job, Outcome.CANCELLED, now)

    def unheard(self, engine_id: str) -> None:
        """An engine has not been heard for a while: what it said of its own queue counts no more."""
        entry = self._table.engines.entries.get(engine_id)
        if entry is not None:
            entry.credits.reset_caps()
            self._table.freed(entry)

    def _settle(self, job: Job, used: tuple[int, int]) -> None:
        """Correct the tenant's charge to what was used."""
        request = job.request
        if request is None:
            return
        table, classification = self._table, request.classification
        uncached_tokens = job.uncached_tokens
        if used[0] and classification.input_tokens and not job.adopted:
            uncached_tokens *= used[0] / classification.input_tokens
        cost = table.engines.prices.seconds(classification.route, uncached_tokens, used[1] or job.output_tokens)
        table.queue.policy.settled(request, cost - job.charged_seconds)
        table.lengths.learn(request.tenant, classification, used[1])

    def _blame(self, entry: EngineEntry, error: SageError, now: float) -> None:
        if blame(error) is Blame.NONE:
            entry.breaker.neutral()
            return
        entry.breaker.failed()
        if entry.breaker.tripped and self._table.engines.may_eject(entry):
            self._table.deadlines.arm("breaker", entry.engine_id, now + entry.breaker.open())
