"""Interruption: a bulk answer gives up its seat for work that would otherwise miss its target, and goes on later."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from sage_common.errors import CancelledError
from sage_control_plane.policies.laxity import FAR_OFF_SECONDS, deadline, latest_start
from sage_control_plane.policies.policy import PoolView
from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.kept_answers import KeptAnswers
from sage_control_plane.request.request import PendingRequest, Route, ServiceClass, TokensUsed
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decision_outbox import DecisionOutbox
from sage_control_plane.tracking.recompute_account import RecomputeAccount
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.seat_offers import SeatOffer, is_bulk, natural_ends, offer_of, seats_at
from sage_control_plane.tracking.settings import InterruptionSettings
from sage_control_plane.tracking.tenant_charges import TenantCharges
from sage_control_plane.tracking.timers import Timer
from sage_control_plane.tracking.tracked_request import TrackedRequest

# An edge that has not stopped an attempt by then will not: it is gone, or cannot continue the answer.
ANSWERED_WITHIN_SECONDS = 1.0
# Requests and engines that are looked at for one decision: constants, and enough to find a seat.
MOST_WAITING = 64
MOST_ENGINES = 16
# A search that found too little is not repeated for so long unless something has changed.
LOOK_AGAIN_SECONDS = 0.05

_NEVER = float("inf")
_REASON = "its seat was needed for {} work that would have missed its target"


@dataclass(frozen=True, slots=True)
class _Asked:
    """An attempt whose edge was asked to stop it.

    Attributes:
        route: of the requests for one of which its seat is freed; None where the engine's own queue gets it.
        tokens: of its answer then, as estimated.
        charged: tokens that were paid for as computed again.
    """

    attempt: DispatchedAttempt
    route: Route | None
    at: float
    tokens: int
    charged: float
    reason: str

    def is_open(self, now: float) -> bool:
        """Whether the edge may still stop it."""
        return now - self.at < ANSWERED_WITHIN_SECONDS


@dataclass(frozen=True, slots=True)
class _Look:
    """The last search for seats of a route. Until ``until`` another would find nothing else, unless more wait.

    Attributes:
        waiting: requests that waited; infinite where more change nothing for now.
        candidates: count of changes by which there may be another victim; None where none was looked for.
    """

    waiting: float
    candidates: int | None
    until: float


class Interruption:
    """Decides which running bulk answers are stopped, to be continued later from their tokens so far.

    A seat is freed for a request that the policy puts before bulk work, where no engine has one for it and the next
    natural end is expected too late for its target. The victim is of the bulk class, can be continued or has not begun,
    has come further since its last interruption than another would set it back, and is the one of which least is
    recomputed. Recomputed tokens are paid from a budget that is a share of all tokens. Only its edge can say whether
    the answer can be continued, so the edge is asked; it stops the attempt and submits the rest (see
    ``EdgeRequest.interrupt``).

    Args:
        kept: what engines keep of stopped answers.
        due: a timer by route; when it is due there has to be a decision.
    """

    def __init__(
        self,
        table: RequestTable,
        engines: EnginePool,
        kept: KeptAnswers,
        queue: WorkQueue,
        view: PoolView,
        outbox: DecisionOutbox,
        charges: TenantCharges,
        due: Timer[Route],
        log: DecisionLog,
        settings: InterruptionSettings,
    ) -> None:
        self._table = table
        self._engines = engines
        self._queue = queue
        self._view = view
        self._outbox = outbox
        self._charges = charges
        self._due = due
        self._log = log
        self._enabled = settings.ratio > 0
        self.account = RecomputeAccount(kept, outbox.totals, settings)
        self._asked: dict[str, _Asked] = {}
        self._looks: dict[Route, _Look] = {}
        # Counts changes by which there may be another victim.
        self._candidates = 0
        self._turn = 0
        # Urgent attempts that were dispatched beyond their engine's seats, and wait in its own queue.
        self._crowded: dict[str, DispatchedAttempt] = {}

    # Events

    def on_arrived(self, request: PendingRequest) -> None:
        """Take in a request that may be interrupted: halfway on average."""
        if is_bulk(request):
            classification = request.classification
            self.account.budget.expect(classification.input_tokens + classification.output_tokens / 2)

    def on_dispatched(self, tracked: TrackedRequest) -> None:
        """Take in that a request was dispatched."""
        request, attempt = tracked.request, tracked.attempt
        if request is None or attempt is None:
            return
        self.on_candidate(attempt)
        entry = self._engines.entries[attempt.engine_id]
        if entry.credits.requests > entry.state.spec.max_concurrency and self._queue.policy.ranks_before_bulk(request):
            self._crowded[request.request_id] = attempt

    def on_begun(self, attempt: DispatchedAttempt, used: TokensUsed, now: float) -> None:
        """Take in that an attempt has begun, and what its prompt made its engine compute, if that is known by then."""
        self.on_candidate(attempt)
        if used.recomputed is not None:
            self.account.went_on(attempt, used, now)

    def on_candidate(self, attempt: DispatchedAttempt) -> None:
        """Take in that an attempt was dispatched or has begun, so that it may be interrupted."""
        request = attempt.request
        if request is not None and request.classification.service_class is ServiceClass.BULK:
            self._candidates += 1

    def on_finished(self, attempt: DispatchedAttempt, used: TokensUsed, now: float) -> None:
        """Deposit the tokens of a complete answer."""
        self.account.went_on(attempt, used, now)
        if self._enabled and attempt.request is not None and attempt.request.classification.generates:
            output = attempt.output_tokens if used.output is None else used.output
            self.account.budget.deposit(attempt.uncached_tokens + output, now)

    def on_stopped(self, tracked: TrackedRequest, attempt: DispatchedAttempt, now: float) -> bool:
        """Take in that an attempt was stopped; return whether its edge did so because it was asked to.

        The tenant pays for what it got so far; its continuation is charged for the rest.
        """
        asked = self._asked.pop(attempt.request_id, None)
        if asked is None or asked.attempt is not attempt or tracked.request is None:
            return False
        # Its seat may go to another than it was freed for.
        self._candidates += 1
        self._log.interrupted(attempt.request_id, attempt.number, CancelledError(asked.reason, code="interrupted"))
        if attempt.begun:
            self.account.kept.stopped(attempt.request_id, attempt.engine_id, asked.charged)
            self._charges.settle_part(tracked.request, attempt, asked.tokens, tracked.charged_seconds)
            self.account.budget.deposit(attempt.uncached_tokens + asked.tokens, now)
        else:
            self._charges.refund(tracked.request, tracked.charged_seconds)
        return True

    # Decisions

    def per_second(self, now: float, hold_seconds: float) -> float:
        """Return for how many seats a second others may plan over a time; see ``RecomputeAccount.per_second``."""
        return self.account.per_second(now, hold_seconds) if self._enabled else 0.0

    def consider(self, now: float) -> None:
        """Interrupt as many answers as have to give up their seats now."""
        if self._enabled:
            for attempt in list(self._crowded.values()) if self._crowded else ():
                self._consider_crowded(attempt, now)
            for route, waiting in self._queue.before_bulk().items():
                if not waiting or self._has_looked(route, len(waiting), now):
                    continue
                if not self._has_seat(route, next(iter(waiting.values()))):
                    self._consider(route, waiting.values(), now)

    def _has_looked(self, route: Route, waiting: int, now: float) -> bool:
        """Return whether another search would find what the last one found."""
        look = self._looks.get(route)
        if look is None or look.candidates not in (None, self._candidates):
            return False
        return now < look.until and waiting <= look.waiting

    def _has_seat(self, route: Route, request: PendingRequest) -> bool:
        free = islice(self._engines.route(route).free.engines, MOST_ENGINES)
        return any(entry.credits.fits(request.classification.tokens) for entry in free)

    def _consider_crowded(self, attempt: DispatchedAttempt, now: float) -> None:
        """Have seats freed on an engine for an attempt that waits in its queue, once, if it would be late."""
        entry, request = self._engines.entries.get(attempt.engine_id), attempt.request
        del self._crowded[attempt.request_id]
        if entry is None or request is None or attempt.begun or not self._runs(attempt):
            return
        offer = self._offer(entry, request.arrived_at, now)
        # It is one of the requests there.
        offer.needed -= 1
        ends = natural_ends(entry, now)
        on_time = len(ends) >= offer.needed and ends[offer.needed - 1] <= latest_start(request, self._view)
        if offer.needed and not on_time:
            self._take(offer, None, request.classification.service_class, now, offer.running)

    def _consider(self, route: Route, waiting: Collection[PendingRequest], now: float) -> None:
        first = list(islice(waiting, MOST_WAITING))
        near = [request for request in first if deadline(request) - now <= FAR_OFF_SECONDS]
        if not near:
            # Seats come free many times until then. Of a long queue others come to the front.
            due, known = min(map(deadline, first)) - FAR_OFF_SECONDS, float(len(waiting))
            if known > len(first):
                due, known = min(due, now + LOOK_AGAIN_SECONDS), _NEVER
            self._looks[route] = _Look(known, None, due)
            self._due.arm(route, due)
            return
        for request_id in [one for one, asked in self._asked.items() if not self._runs(asked.attempt)]:
            del self._asked[request_id]
        serving = list(self._engines.route(route).serving.values())
        if len(serving) > MOST_ENGINES:
            self._turn = (self._turn + MOST_ENGINES) % len(serving)
            serving = (serving[self._turn :] + serving[: self._turn])[:MOST_ENGINES]
        under_way = sum(asked.route == route and asked.is_open(now) for asked in self._asked.values())
        soonest = now + LOOK_AGAIN_SECONDS
        full = [entry for entry in serving if entry.usable and not entry.credits.has_slot]
        late, next_end = self._late(near, serving, under_way, now) if full else ([], _NEVER)
        asked = self._interrupt(route, late, full, now) if late else 0
        under_way += asked
        due = max(soonest, min(next_end, now + ANSWERED_WITHIN_SECONDS) if under_way else next_end)
        known = _NEVER if late and not asked else len(waiting)
        self._looks[route] = _Look(known, self._candidates, soonest if late or not full else due)
        if due != _NEVER:
            self._due.arm(route, due)

    def _runs(self, attempt: DispatchedAttempt) -> bool:
        entry = self._engines.entries.get(attempt.engine_id)
        return entry is not None and entry.running.get(attempt.request_id) is attempt

    def _late(
        self, waiting: Iterable[PendingRequest], engines: Iterable[EngineEntry], under_way: int, now: float
    ) -> tuple[list[PendingRequest], float]:
        """Return the requests that would miss their targets, and when the next answer ends that others wait for.

        Args:
            under_way: seats that are about to be given up; they serve the most urgent.
        """
        starts = ((latest_start(request, self._view), request) for request in waiting)
        timed = sorted(starts, key=lambda item: item[0])[under_way:]
        ends = sorted(chain.from_iterable(seats_at(entry, now) for entry in engines)) if timed else []
        late, matched = list[PendingRequest](), 0
        for latest, request in timed:
            if matched < len(ends) and ends[matched] <= latest:
                matched += 1
            else:
                late.append(request)
        return late, ends[0] if matched else _NEVER

    def _interrupt(
        self, route: Route, late: Sequence[PendingRequest], engines: Iterable[EngineEntry], now: float
    ) -> int:
        """Have seats freed for late requests, as far as there are victims and budget; return for how many."""
        # What the policy placed while they waited already it has put before them on purpose.
        newest = max(request.arrived_at for request in late)
        offers = [self._offer(entry, newest, now) for entry in engines]
        running = sum(offer.running for offer in offers)
        for served, request in enumerate(late):
            offer = min(offers, key=lambda one: one.cost)
            if not self._take(offer, route, request.classification.service_class, now, running):
                return served
        return len(late)

    def _offer(self, entry: EngineEntry, dispatched_by: float, now: float) -> SeatOffer:
        def is_leaving(attempt: DispatchedAttempt) -> bool | None:
            asked = self._asked.get(attempt.request_id)
            return None if asked is None else asked.is_open(now)

        return offer_of(entry, self.account.kept, dispatched_by, is_leaving, now)

    def _take(self, offer: SeatOffer, route: Route | None, urgent: ServiceClass, now: float, running: float) -> bool:
        """Have the edges stop what an engine offers for one seat; return whether there is one and the budget allows it.

        Args:
            route: of the request that the seat is for; None for one that waits in the engine's queue.
            running: tokens so far of the answers that run.
        """
        if offer.cost == _NEVER or not self.account.budget.withdraw(offer.tokens, now, running, offer.size):
            return False
        reason = _REASON.format(urgent.name.lower())
        for victim in offer.take():
            attempt = victim.attempt
            tokens = round(victim.tokens)
            self._asked[attempt.request_id] = _Asked(attempt, route, now, tokens, victim.at_risk, reason)
            tracked = self._table.get(attempt.request_id)
            self._outbox.interrupt(attempt, 1 if tracked is None else tracked.tries, reason)
            # The others' seats are for the engine's own queue.
            route = None
        return True
