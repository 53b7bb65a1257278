"""Hedging: a second attempt, elsewhere, at a request whose first token is long overdue."""

from __future__ import annotations

from dataclasses import replace

from sage_common.errors import CancelledError
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import Attempt
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.retry_budget import RetryBudget
from sage_control_plane.tracking.tracked_request import Job, JobState


class Hedging:
    """Decides when both attempts run, and which goes on (Dean and Barroso, The Tail at Scale, CACM 2013).

    A request is hedged only before its first token, and inside a budget that is a share of the requests. The attempt
    with the first token wins and the other is aborted, unless it has begun meanwhile: which of two begun attempts the
    client reads only the edge knows, and it stops the other. If one of them fails the other goes on alone.
    """

    def __init__(self, table: RequestTable, settings: ControlSettings) -> None:
        self._table = table
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
            self._table.deadlines.arm("hedge", job.request_id, now + wait)

    def due(self, job: Job, now: float) -> None:
        """A request's first token is overdue. Where no engine is free, or the budget spent, it is looked at again."""
        table = self._table
        if job.begun or job.request_id in table.hedges or job.tries >= self._max_tries:
            return
        if not table.place_hedge(job, lambda: self._budget.withdraw(now), now):
            wait = max(self._least_seconds, now - job.dispatched_at)
            table.deadlines.arm("hedge", job.request_id, now + wait)

    def _expected_seconds(self, job: Job) -> float | None:
        """Expected time to the first byte of the answer; None while nothing trustworthy is known."""
        if job.request is None or job.request.classification.sheddable:
            return None
        classification = job.request.classification
        if classification.shows_beginning:
            return job.predicted_ttft
        # The first byte of an answer in one piece comes with its last.
        forecast = self._table.engines.entries[job.engine_id].forecast
        prompt = forecast.ttft_seconds(classification.generates, job.uncached_tokens)
        each = forecast.tpot_seconds()
        return None if prompt is None or each is None else prompt + each * job.output_tokens

    # Which

    def began(self, job: Job, now: float) -> None:
        """An attempt has its first token: abort the other, if there is one that has not."""
        table = self._table
        table.deadlines.disarm("hedge", job.request_id)
        twin = self._twin(job)
        if twin is None or twin.begun:
            return
        entry = table.engines.entries.get(twin.engine_id)
        if entry is not None and not twin.adopted:
            # It would have taken longer still. Left out, only an engine's quick answers would be learned from, and
            # the slower it is the better it would look.
            table.engines.learn_overdue(entry, twin, now)
        del table.hedges[job.request_id]
        self._drop(twin, "another attempt was faster", unbegun=True)
        self._alone(job, twin)
        job.loser = twin

    def began_too(self, request_id: str, attempt: Attempt, now: float, ttft_seconds: float) -> None:
        """An attempt that lost had begun before its abort reached it: both run until the edge stops one of them."""
        table = self._table
        job = table.jobs.get(request_id)
        loser = None if job is None or job.state is not JobState.RUNNING else job.loser
        entry = None if loser is None or loser.attempt != attempt else table.engines.entries.get(loser.engine_id)
        if job is None or loser is None or entry is None:
            return
        job.loser = None
        loser.begun = True
        table.charge(loser, entry, now)
        table.engines.learn_begin(entry, loser, now, ttft_seconds or now - loser.dispatched_at)
        table.hedges[request_id] = loser

    def survives(self, job: Job, now: float) -> bool:
        """An attempt has failed, was stopped or is lost, and is off its engine: return whether the other goes on."""
        table = self._table
        twin = self._twin(job)
        if twin is None:
            table.deadlines.disarm("hedge", job.request_id)
            return False
        del table.hedges[job.request_id]
        twin.avoided |= {job.engine_id}
        self._alone(twin, job)
        if twin.begun:
            seconds = twin.begun_at - twin.dispatched_at
            table.log.began(twin.request_id, twin.engine_id, seconds, twin.predicted_ttft, now)
        return True

    def ended(self, job: Job) -> None:
        """A request ends without an answer: whatever other attempt runs is aborted."""
        self._table.deadlines.disarm("hedge", job.request_id)
        twin = self._twin(job)
        if twin is not None:
            del self._table.hedges[job.request_id]
            self._table.jobs[job.request_id] = job
            self._drop(twin, "the request has ended", unbegun=False)

    def completed(self, job: Job) -> None:
        """An answer is complete. Another that has begun may be the one that the client reads: it runs on, unbooked."""
        self._table.deadlines.disarm("hedge", job.request_id)
        twin = self._twin(job)
        if twin is not None:
            del self._table.hedges[job.request_id]
            self._release(twin)

    def adopted(self, job: Job, running: RunningRequest, entry: EngineEntry, now: float) -> bool:
        """A second engine runs an attempt at a running job, for an earlier leader; return whether it is a twin.

        Two that are in the air when a leader is lost race on under the next.
        """
        table = self._table
        if job.state is not JobState.RUNNING or job.submission != running.attempt.submission:
            return False
        if job.engine_id == entry.engine_id or job.request_id in table.hedges:
            return False
        job.hedged = True
        job.hedges += 1
        twin = replace(
            job,
            tokens=running.tokens,
            engine_id=entry.engine_id,
            attempt=running.attempt,
            tries=job.tries + 1,
            dispatched_at=now,
        )
        twin.leave_engine()
        twin.adopted = True
        twin.begun, twin.begun_at = running.started_replying, now
        table.hedges[job.request_id] = twin
        table.charge(twin, entry, now)
        if job.begun or twin.begun:
            self.began(job if job.begun else twin, now)
        return True

    def _twin(self, job: Job) -> Job | None:
        """The attempt that runs beside this one."""
        hedge = self._table.hedges.get(job.request_id)
        return self._table.jobs[job.request_id] if hedge is job else hedge

    def _alone(self, job: Job, other: Job) -> None:
        """An attempt goes on without the other."""
        job.tries = max(job.tries, other.tries)
        self._table.jobs[job.request_id] = job

    def _drop(self, loser: Job, reason: str, *, unbegun: bool) -> None:
        table = self._table
        error = CancelledError(reason, code="hedge_lost")
        table.log.attempt_failed(loser.request_id, loser.attempt, error)
        if loser.engine_id in table.engines.entries:
            table.abort(loser, reason, engine_id=loser.engine_id, unbegun=unbegun)
            self._release(loser)

    def _release(self, loser: Job) -> None:
        entry = self._table.release(loser)
        entry.breaker.neutral()
        self._table.freed(entry)
