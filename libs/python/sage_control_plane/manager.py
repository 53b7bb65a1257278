"""The control plane of one pool as a pure state machine: events in, decisions out.

The scheduler service and the simulator drive the same object. It reads no clock (``now`` is given, in seconds that
only need to be monotonic), does no I/O, and takes its randomness from outside.

Usage: report each event (``submit``, ``finished``, ``engine_updated`` …), then call ``decide`` and carry out what it
returns; one ``decide`` may follow several events. Call ``tick`` at ``next_deadline`` unless an event comes before.
"""

from __future__ import annotations

from random import Random

from sage_common.errors import SageError
from sage_control_plane.placement.filters import engine_filters, request_filters
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.placement.placer import Placer
from sage_control_plane.placement.route_placer import RoutePlacer
from sage_control_plane.placement.scorer_weights import make_scorers
from sage_control_plane.policies.admission import Admission, Queued
from sage_control_plane.policies.outlook import Outlook, outlook
from sage_control_plane.policies.policy import SchedulingPolicy
from sage_control_plane.policies.registry import PolicySettings, make_policy
from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.engine_pool_view import EnginePoolView
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.reservation import Reservation
from sage_control_plane.pool.saturation import Saturation
from sage_control_plane.prediction.output_length import OutputLengths
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_control_plane.request.request import NOT_COUNTED, Attempt, PendingRequest, ServiceClass, TokensUsed
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.attempt_reports import AttemptReports
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decision_outbox import DecisionOutbox, Totals
from sage_control_plane.tracking.decisions import Decision, Outcome
from sage_control_plane.tracking.engines_at_rest import EnginesAtRest
from sage_control_plane.tracking.hedging import Hedging
from sage_control_plane.tracking.interruption import Interruption
from sage_control_plane.tracking.reconciliation import STALE_SECONDS, compare
from sage_control_plane.tracking.recovery import Recovery
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.tenant_charges import TenantCharges
from sage_control_plane.tracking.timers import Timers


class ControlPlaneManager:
    """Queue, engines and requests of one pool.

    Args:
        policy: name of the first policy.
        epoch: of the lease under which this manager decides; attempt numbers are above those of earlier epochs.
        random: for picking and jitter.
        decision_log: where decisions are recorded; None makes a log for this manager alone.

    Raises:
        InvalidRequestError: no policy or no picker has the name given.
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
        self.pool, self._settings, self._epoch, self.caches = pool, settings, epoch, PrefixIndex()
        self.decision_log = log = DecisionLog(settings.explained) if decision_log is None else decision_log
        scorers = make_scorers(settings.scorers, prefixes := self.caches)
        filters = engine_filters(settings.prompt_seconds)
        placer = Placer(filters, request_filters(), scorers, make_picker(settings.picker), random)
        self._learning = learning = PoolLearning(settings.prediction)
        entries: dict[str, EngineEntry] = {}
        self._reservation = reservation = Reservation(entries, settings.reservation.prices)
        load = Saturation(learning.fits, settings.prompt_seconds, reservation)
        self._engines = engines = EnginePool(
            entries, placer.admits, learning, prefixes, load, reservation, settings.breaker, settings.headroom
        )
        admission = Admission(settings.admission)
        self._view = view = EnginePoolView(engines, learning, admission, reservation)
        self._queue = queue = WorkQueue(make_policy(policy, settings.policies), admission, view)
        self._timers = timers = Timers()
        lengths = OutputLengths(settings.prediction)
        self._outbox = outbox = DecisionOutbox(queue, log, epoch)
        charges = TenantCharges(queue, learning.prices, lengths)
        route_placer = RoutePlacer(placer, prefixes)
        self._table = table = RequestTable(engines, queue, route_placer, charges, lengths, timers, outbox, log)
        max_tries = settings.retries.max_tries
        self._hedging = Hedging(table, outbox, engines, learning, timers.hedge, log, settings.hedging, max_tries)
        self._recovery = Recovery(table, outbox, engines, queue, timers, self._hedging, log, settings.retries, random)
        self._interruption = stops = Interruption(
            table, engines, prefixes.kept, queue, view, outbox, charges, timers.interruption, log, settings.interruption
        )
        reservation.absorbs = stops.per_second
        self._at_rest = EnginesAtRest(engines, queue, reservation)
        self._reports = AttemptReports(table, engines, learning, self._recovery, self._hedging, stops, timers, log)
        timers.prefill.on_due = lambda of, now: table.refresh(engines.prefill_due(of, now))
        timers.stale_load.on_due = lambda engine_id, now: table.refresh(engines.forget_load(engine_id))
        timers.ejection.on_due = lambda engine_id, now: table.refresh(engines.end_ejection(engine_id))

    @property
    def policy(self) -> str:
        """Name of the policy in force."""
        return self._queue.policy.name

    @property
    def totals(self) -> Totals:
        """Counts since the manager was made."""
        return self._outbox.totals

    @property
    def queued(self) -> int:
        """Requests queued."""
        return len(self._queue)

    @property
    def queued_by_class(self) -> dict[ServiceClass, Queued]:
        """Requests and bytes queued, by class."""
        return self._queue.admission.queued

    @property
    def outstanding(self) -> int:
        """Attempts dispatched and not ended."""
        return self._engines.load.outstanding

    @property
    def saturation(self) -> float:
        """Share of the pool in use: 0 is idle, 1 is full."""
        return self._engines.load.value

    @property
    def prediction_errors(self) -> dict[str, float | None]:
        """MAPE of each predicted quantity over the whole pool, 0.2 is 20 %; None while nothing has been predicted."""
        return self._learning.errors

    @property
    def engines(self) -> dict[str, EngineEntry]:
        """The engines by id; for reading."""
        return self._engines.entries

    @property
    def draining(self) -> set[str]:
        """Ids of the engines that operators drain, registered or not."""
        return set(self._engines.draining)

    def waiting(self) -> list[PendingRequest]:
        """Return the requests that wait for an engine."""
        return self._table.waiting()

    def holds(self, request_id: str) -> bool:
        """Return whether the request waits or runs."""
        return request_id in self._table

    def outlook(self, now: float) -> Outlook:
        """Return what is to be expected of the queue."""
        return outlook(self.waiting(), self._queue.admission.tokens_per_second(now), self._view, now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` has to be called if no event comes before; None for never."""
        times = (self._timers.first_at(), self._queue.policy.next_change_at())
        return min((at for at in times if at is not None), default=None)

    # Requests

    def submit(self, request: PendingRequest, now: float) -> bool:
        """Queue or refuse a request; return False when it repeats one that waits or runs, which changes nothing."""
        tracked = self._table.get(request.request_id)
        if tracked is not None:
            if request.submission < tracked.submission:
                return False
            if request.submission == tracked.submission:
                if tracked.request is not None:
                    return False
                self._table.attach(tracked, request)
                return True
            self._recovery.supersede(tracked, now)
        error: SageError | None = None if request.was_admitted else self._queue.refusal(request, now)
        if not (known := self._recovery.awaited(request.classification.route)) and error is None:
            error = self._recovery.refusal_for(request.classification.route)
        if known or error is None:  # who is refused asked for a seat too, but not of a model that nobody serves
            self._engines.arrived(request, now)
        if error is not None:
            self._outbox.refuse(request.request_id, request.submission, request, error, now)
        else:
            self._recovery.budget.deposit()
            self._interruption.on_arrived(request)
            self._table.open(request, now)
        return True

    def cancel(
        self, request_id: str, up_to: Attempt | None = None, now: float = 0.0, engine_id: str | None = None
    ) -> None:
        """Cancel a request; or of its attempts those up to ``up_to``, or the one on ``engine_id``."""
        tracked = self._table.get(request_id)
        if tracked is None:
            return
        attempt = tracked.attempt if engine_id is None else tracked.find_on(engine_id)
        if attempt is not None:
            if up_to is None and engine_id is None:
                # Executors get the client's cancellation too, but perhaps before the dispatch; this one follows it.
                self._outbox.abort(attempt, "cancelled")
                self._hedging.on_ended(tracked, now)
            elif up_to is not None and attempt.number > up_to:
                return
            self._reports.on_stopped(tracked, attempt, now)
        elif up_to is None and engine_id is None:
            self._table.unqueue(tracked)
            self._table.end(tracked, Outcome.CANCELLED, now)

    # Reports of executors; a report about an attempt that does not run is late and changes nothing

    def first_token(
        self,
        request_id: str,
        attempt: Attempt,
        now: float,
        ttft_seconds: float | None = None,
        resumable: bool = False,
        used: TokensUsed = NOT_COUNTED,
    ) -> None:
        """Note the first byte of an answer, which another attempt could continue if ``resumable``; see ``finished``."""
        self._reports.on_first_token(request_id, attempt, now, used, ttft_seconds, resumable=resumable)

    def finished(
        self,
        request_id: str,
        attempt: Attempt,
        now: float,
        used: TokensUsed = NOT_COUNTED,
        ttft_seconds: float | None = None,
    ) -> None:
        """End a request whose answer is complete; ``ttft_seconds``: from the engine's receipt, None if not reported."""
        self._reports.on_finished(request_id, attempt, now, used, ttft_seconds)

    def failed(
        self, request_id: str, attempt: Attempt, error: SageError, now: float, *, started_replying: bool
    ) -> None:
        """End an attempt with an error. A retryable one before the first byte is tried again on another engine."""
        self._reports.on_failed(request_id, attempt, error, now, started_replying=started_replying)

    def cancelled(self, request_id: str, attempt: Attempt, now: float = 0.0) -> None:
        """End an attempt that its executor has stopped because of a cancellation."""
        self._reports.on_cancelled(request_id, attempt, now)

    def engine_updated(self, state: EngineState, now: float) -> None:
        """Update an engine from a heartbeat; adopt unknown requests that it runs, recover those that it does not."""
        if state.phase is EnginePhase.STOPPED:
            # Callers read the reason; lines after the first may quote other callers' requests.
            self.engine_lost(state.spec.engine_id, state.reason.partition("\n")[0] or "it has stopped", now)
            return
        known = self._engines.entries.get(state.spec.engine_id)
        if known is not None and self._at_rest.passes(known, state, now):
            return
        before = tuple(self._engines.routes_of(known)) if known else ()
        entry = self._engines.update(state, now)
        differences = compare(self._engines, entry, state.running, self._epoch, now)
        for attempt in differences.begun:
            self._reports.on_listed_as_begun(attempt, now)
        for running in differences.unknown:
            self._recovery.adopt(running, entry, now)
        for attempt in differences.lost:
            self._recovery.on_unlisted(attempt, now)
        if entry.credits.corrected:
            self._timers.stale_load.arm(entry.engine_id, now + STALE_SECONDS)
        self._table.refresh(entry)
        self._recovery.watch({*before, *self._engines.routes_of(entry)}, now)  # it may have dropped a model

    def engine_lost(self, engine_id: str, reason: str, now: float) -> None:
        """Remove an engine; its requests are tried again on other engines where that is allowed."""
        entry = self._engines.entries.get(engine_id)
        if entry is None:
            return
        routes = list(self._engines.routes_of(entry))
        self._engines.remove(engine_id, now)
        self._timers.ejection.disarm(engine_id)
        self._timers.cooling.disarm(engine_id)
        for attempt in entry.running.values():
            self._recovery.on_lost(attempt, f"engine {engine_id!r} is gone: {reason}", now)
        self._queue.open(routes)
        self._recovery.watch(routes, now)

    def set_draining(self, engine_id: str, draining: bool, now: float) -> None:
        """Stop new work to an engine, registered or not, or allow it again."""
        entry = self._engines.set_draining(engine_id, draining)
        if entry is not None:
            self._table.refresh(entry)
            self._recovery.watch(self._engines.routes_of(entry), now)

    def set_policy(self, name: str, now: float, settings: PolicySettings | None = None) -> None:
        """Change the policy, or its settings; queued requests stay. Raises InvalidRequestError on an unknown name."""
        self._queue.switch(make_policy(name, settings or self._settings.policies), now)

    def use_policy(self, policy: SchedulingPolicy, now: float) -> None:
        """Change to a policy that is not in the registry, such as a simulator's baseline."""
        self._queue.switch(policy, now)

    def tick(self, now: float) -> None:
        """Fire the timers that are due at ``now``."""
        self._timers.fire_due(now)

    def decide(self, now: float) -> list[Decision]:
        """Place queued requests on free engines; return every decision since the last call, in order."""
        queue, table = self._queue, self._table
        self._view.now = now
        while (pick := queue.next(now)) is not None:
            tracked = table.get(pick.request.request_id)
            assert tracked is not None
            if pick.shed:
                self._recovery.on_shed(tracked, queue.admission.contended(pick.shed, now), now)
            elif table.place(tracked, pick, now):
                self._hedging.on_dispatched(tracked, now)
                self._interruption.on_dispatched(tracked)
        self._interruption.consider(now)
        return self._outbox.take()
