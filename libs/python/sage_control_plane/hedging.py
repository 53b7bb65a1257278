"""Hedging: a second attempt, elsewhere, at a request whose first token is long overdue."""

from __future__ import annotations

from sage_control_plane.engine_book import EngineBook
from sage_control_plane.jobs import Job
from sage_control_plane.ledger import Ledger
from sage_control_plane.retry_budget import RetryBudget
from sage_control_plane.settings import ControlSettings


class Hedging:
    """Decides when both attempts run, and which goes on (Dean and Barroso, The Tail at Scale, CACM 2013).

    A request is hedged once, only before its first token, and inside a budget that is a share of the requests. The
    attempt with the first token wins and the other is aborted; if one of them fails the other goes on alone.
    """

    def __init__(self, ledger: Ledger, settings: ControlSettings) -> None:
        self._ledger = ledger
        self._factor = settings.hedge_factor
        self._least_seconds = settings.hedge_least_seconds
        self._enabled = settings.hedge_ratio > 0
        self._budget = RetryBudget(settings.hedge_ratio, 0.0, burst=20.0)

    def dispatched(self, job: Job, now: float) -> None:
        """A request went to an engine: watch for its first token, if it is known when that is due."""
        if not self._enabled:
            return
        self._budget.deposit()
        if job.predicted_ttft is not None and job.request is not None and not job.request.classification.sheddable:
            wait = max(self._least_seconds, self._factor * job.predicted_ttft)
            self._ledger.deadlines.arm("hedge", job.request_id, now + wait)

    def due(self, job: Job, now: float) -> None:
        """A request's first token is overdue."""
        if not job.begun and job.request_id not in self._ledger.hedges:
            self._ledger.place_hedge(job, lambda: self._budget.withdraw(now), now)

    def began(self, job: Job, now: float) -> None:
        """An attempt has its first token: abort the other, if there is one."""
        ledger = self._ledger
        ledger.deadlines.disarm("hedge", job.request_id)
        hedge = ledger.hedges.pop(job.request_id, None)
        if hedge is None:
            return
        loser = ledger.jobs[job.request_id] if hedge is job else hedge
        book = ledger.roster.books.get(loser.engine_id)
        if book is not None:
            # It would have taken longer still. Left out, only an engine's quick answers would be learned from, and
            # the slower it is the better it would look.
            ledger.roster.learn_overdue(book, loser, now)
        self._drop(loser)
        ledger.jobs[job.request_id] = job
        job.hedge = False

    def ended(self, job: Job) -> None:
        """A request ends: whatever other attempt runs is aborted."""
        self._ledger.deadlines.disarm("hedge", job.request_id)
        hedge = self._ledger.hedges.pop(job.request_id, None)
        if hedge is not None:
            self._drop(self._ledger.jobs[job.request_id] if hedge is job else hedge)

    def survives(self, job: Job) -> bool:
        """An attempt has failed or is lost, and is off its engine: return whether the other goes on."""
        ledger = self._ledger
        hedge = ledger.hedges.pop(job.request_id, None)
        if hedge is None:
            ledger.deadlines.disarm("hedge", job.request_id)
            return False
        if hedge is not job:
            hedge.avoided |= {job.engine_id}
            hedge.hedge = False
            ledger.jobs[job.request_id] = hedge
        return True

    def _drop(self, loser: Job) -> None:
        ledger = self._ledger
        if loser.engine_id not in ledger.roster.books:
            return
        ledger.abort(loser, "another attempt was faster", engine_id=loser.engine_id)
        book: EngineBook = ledger.release(loser)
        book.breaker.neutral()
        ledger.freed(book)
