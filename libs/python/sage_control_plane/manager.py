"""The control plane of one pool as a pure state machine: events in, decisions out.

The scheduler service and the simulator drive the same object. It reads no clock (``now`` is given, in seconds that
only need to be monotonic), does no I/O, and takes its randomness from outside.

Usage: tell it what happened (``submit``, ``finished``, ``engine_updated`` …), then ``decide`` for what to do about it;
several events may go before one ``decide``. When nothing happens before ``next_deadline``, call ``tick`` then.
"""

from __future__ import annotations

from random import Random

from sage_common.errors import SageError
from sage_control_plane.placement.filters import engine_filters, request_filters
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.placement.placer import Placer
from sage_control_plane.placement.scorers import make_scorers
from sage_control_plane.policies.admission import Admission, Queued
from sage_control_plane.policies.policy import SchedulingPolicy
from sage_control_plane.policies.registry import make_policy
from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.pool_view import EnginePoolView
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.prediction.output_length import OutputLengths
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_control_plane.request.request import Attempt, PendingRequest, Route, ServiceClass
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.attempts import Attempts
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decisions import Decision, Outcome
from sage_control_plane.tracking.hedging import Hedging
from sage_control_plane.tracking.reconciliation import compare
from sage_control_plane.tracking.recovery import Recovery, nobody_serves
from sage_control_plane.tracking.request_table import RequestTable, Totals
from sage_control_plane.tracking.tracked_request import JobState

# What an engine says of its own queue and cache counts for so long.
STALE_SECONDS = 2.0


class ControlPlaneManager:
    """Queue, engines and entries of one pool.

    Args:
        policy: name of the policy to begin with.
        epoch: of the lease under which this manager decides; attempt numbers are above those of earlier epochs.
        random: for picking and jitter.
        decision_log: where decisions are recorded; left out, a log of this manager's own.

    Raises:
        InvalidRequestError: the policy or picker is not known.
    """

    def __init__(
        self,
        pool: str,
        policy: str,
        settings: ControlSettings,
        *,
        epoch: int,
        random: Random,
        decision_log: DecisionLog | None = None,
    ) -> None:
        self.pool = pool
        self._settings = settings
        prefixes = PrefixIndex()
        scorers = make_scorers(settings.scorers, prefixes)
        filters = engine_filters(settings.prompt_seconds)
        placer = Placer(filters, request_filters(), scorers, make_picker(settings.picker), random)
        engines = EnginePool(placer, settings, prefixes)
        admission = Admission(settings.admission)
        self._view = EnginePoolView(engines, admission)
        queue = WorkQueue(make_policy(policy, settings.policies), admission, self._view)
        self._engines = engines
        self._queue = queue
        self.decision_log = DecisionLog(settings.explained) if decision_log is None else decision_log
        lengths = OutputLengths(settings.prediction)
        self._table = RequestTable(engines, queue, placer, lengths, prefixes, self.decision_log, epoch)
        self._hedging = Hedging(self._table, settings)
        self._recovery = Recovery(self._table, self._hedging, settings, random)
        self._attempts = Attempts(self._table, self._recovery, self._hedging)

    # What is asked from outside

    @property
    def policy(self) -> str:
        """Name of the policy in force."""
        return self._queue.policy.name

    @property
    def totals(self) -> Totals:
        """Counts so far."""
        return self._table.totals

    @property
    def queued(self) -> int:
        """Requests queued."""
        return len(self._queue)

    @property
    def queued_by_class(self) -> dict[ServiceClass, Queued]:
        """What is queued of each class."""
        return self._queue.admission.queued

    @property
    def outstanding(self) -> int:
        """Requests dispatched and not ended."""
        return self._engines.outstanding

    @property
    def saturation(self) -> float:
        """Share of the pool's credits in use, from 0."""
        return self._engines.saturation

    @property
    def prediction_errors(self) -> dict[str, float | None]:
        """MAPE of what is predicted over the whole pool, 0.2 is 20 %; None while nothing was predicted."""
        return self._engines.fits.errors

    @property
    def engines(self) -> dict[str, EngineEntry]:
        """The engines' entries by id; for reading."""
        return self._engines.entries

    @property
    def draining(self) -> set[str]:
        """Engines that operators drain, known or yet to come."""
        return set(self._engines.draining)

    def waiting(self) -> list[PendingRequest]:
        """Requests that wait for an engine."""
        jobs = self._table.jobs.values()
        return [job.request for job in jobs if job.request is not None and job.state is not JobState.RUNNING]

    def holds(self, request_id: str) -> bool:
        """Whether the request waits or runs."""
        return request_id in self._table.jobs

    def next_deadline(self) -> float | None:
        """When ``tick`` is needed if nothing else happens; None for never."""
        due = self._table.deadlines.first_at()
        change = self._queue.policy.next_change_at()
        if due is None or change is None:
            return change if due is None else due
        return min(due, change)

    # Requests

    def submit(self, request: PendingRequest, now: float) -> bool:
        """A request came. Return whether it is news: a repetition of what waits or runs is not."""
        job = self._table.jobs.get(request.request_id)
        if job is not None:
            if request.submission < job.submission:
                return False
            if request.submission == job.submission:
                if job.request is not None:
                    return False
                self._recovery.attach(job, request)
                return True
            self._recovery.supersede(job)
        route = request.classification.route
        error: SageError | None = self._queue.admission.refusal(request, now)
        if error is None and not self._recovery.awaited(route):
            error = nobody_serves(route)
        if error is not None:
            self._table.refuse(request.request_id, request.submission, error, now, request)
        else:
            self._recovery.budget.deposit()
            self._table.open_job(request, route, now)
        return True

    def cancel(self, request_id: str, up_to: Attempt | None = None, now: float = 0.0, engine_id: str = "") -> None:
        """The client went away, or attempts are to stop: those up to ``up_to``, the one on ``engine_id``."""
        job = self._table.jobs.get(request_id)
        if job is None:
            return
        if engine_id:
            self._attempts.cancelled_on(engine_id, request_id, up_to, now)
        elif job.state is JobState.RUNNING:
            if up_to is None:
                # Executors hear the client's word too, but perhaps before the dispatch: this one comes after it.
                self._table.abort(job, "cancelled")
                self._hedging.ended(job)
            elif job.attempt > up_to:
                return
            self._attempts.cancelled(job, now)
        elif up_to is None:
            self._table.unqueue(job)
            self._table.end(job, Outcome.CANCELLED, now)

    # Reports of executors; word of an attempt that is not the one that runs comes late and changes nothing

    def first_token(self, request_id: str, attempt: Attempt, now: float, ttft_seconds: float = 0.0) -> None:
        """The first byte of an answer left, so long after the engine got the request; 0 when it did not say."""
        job = self._attempts.current(request_id, attempt)
        if job is not None:
            self._attempts.first_token(job, now, ttft_seconds)
        else:
            self._hedging.began_too(request_id, attempt, now, ttft_seconds)

    def finished(
        self,
        request_id: str,
        attempt: Attempt,
        now: float,
        used: tuple[int, int] = (0, 0),
        ttft_seconds: float = 0.0,
    ) -> None:
        """An answer is complete; ``used`` is input and output tokens, zeros when the engine did not say."""
        job = self._attempts.completing(request_id, attempt, now, ttft_seconds)
        if job is not None:
            self._attempts.finished(job, now, used, ttft_seconds)

    def failed(
        self, request_id: str, attempt: Attempt, error: SageError, now: float, *, started_replying: bool
    ) -> None:
        """An attempt failed. Before the first byte, a retryable failure is tried on another engine."""
        job = self._attempts.current(request_id, attempt)
        if job is not None:
            self._attempts.failed(job, error, now, started_replying=started_replying)

    def cancelled(self, request_id: str, attempt: Attempt, now: float = 0.0) -> None:
        """An executor stopped an attempt because it was told to."""
        job = self._attempts.current(request_id, attempt)
        if job is not None:
            self._attempts.cancelled(job, now)

    # Engines

    def engine_updated(self, state: EngineState, now: float) -> None:
        """A heartbeat: take its state in, adopt what runs for an earlier leader, miss what it does not list."""
        if state.phase is EnginePhase.STOPPED:
            # Callers are told; what follows the first line may quote what others asked.
            self.engine_lost(state.spec.engine_id, state.reason.partition("\n")[0] or "it has stopped", now)
            return
        known = self._engines.entries.get(state.spec.engine_id)
        before = tuple(self._engines.routes_of(known)) if known else ()
        entry = self._engines.update(state)
        differences = compare(entry.running, state.running, self._table.epoch, now)
        for job in differences.begun:
            self._attempts.begun_without_report(job, now)
        for unknown in differences.unknown:
            self._recovery.adopt(unknown, entry, now)
        for job in differences.lost:
            self._table.abort(job, "its engine does not list it", engine_id=entry.engine_id)
            self._table.release(job).breaker.neutral()
            self._recovery.lost(job, f"engine {entry.engine_id!r} does not run the request any more", now)
        if entry.credits.corrected:
            self._table.deadlines.arm("stale", entry.engine_id, now + STALE_SECONDS)
        self._table.freed(entry)
        self._recovery.watch({*before, *self._engines.routes_of(entry)}, now)  # an engine may drop a model

    def engine_lost(self, engine_id: str, reason: str, now: float) -> None:
        """An engine is gone, with all that it ran."""
        entry = self._engines.entries.get(engine_id)
        if entry is None:
            return
        routes = list(self._engines.routes_of(entry))
        self._engines.remove(engine_id)
        self._table.deadlines.disarm("breaker", engine_id)
        for job in entry.running.values():
            self._recovery.lost(job, f"engine {engine_id!r} is gone: {reason}", now)
        self._queue.open(routes)
        self._recovery.watch(routes, now)

    def set_draining(self, engine_id: str, draining: bool, now: float) -> None:
        """An operator stops new work to an engine, known or yet to come, or allows it again."""
        entry = self._engines.set_draining(engine_id, draining)
        if entry is not None:
            self._table.freed(entry)
            self._recovery.watch(self._engines.routes_of(entry), now)

    def set_policy(self, name: str, now: float) -> None:
        """Change the policy; what is queued stays queued. Raises InvalidRequestError on an unknown name."""
        self._queue.switch(make_policy(name, self._settings.policies), now)

    def use_policy(self, policy: SchedulingPolicy, now: float) -> None:
        """Change to a policy that is in no registry, such as a simulator's yardstick."""
        self._queue.switch(policy, now)

    # Time

    def tick(self, now: float) -> None:
        """Do what has become due."""
        while (item := self._table.deadlines.pop_due(now)) is not None:
            kind, subject = item
            if isinstance(subject, Route):
                self._recovery.give_up(subject, now)
            elif kind == "expiry":
                self._recovery.expired(self._table.jobs[str(subject)], now)
            elif kind == "backoff":
                self._recovery.resume(self._table.jobs[str(subject)], now)
            elif kind == "computed":
                assert isinstance(subject, tuple)
                self._table.assume_prefilled(subject, now)
            elif kind == "hedge":
                self._hedging.due(self._table.jobs[str(subject)], now)
            elif kind == "stale":
                self._attempts.unheard(str(subject))
            elif kind == "breaker":
                entry = self._engines.entries[str(subject)]
                entry.breaker.half_open()
                self._table.freed(entry)

    def decide(self, now: float) -> list[Decision]:
        """Place what can be placed; return everything decided since the last call."""
        queue, table = self._queue, self._table
        self._view.now = now
        while (pick := queue.next(now)) is not None:
            job = table.jobs[pick.request.request_id]
            if pick.shed:
                table.unqueue(job)
                table.refuse(job.request_id, job.submission, queue.admission.contended(pick.shed, now), now)
            elif table.place(job, pick, now):
                self._hedging.dispatched(job, now)
        return table.take_decisions()
