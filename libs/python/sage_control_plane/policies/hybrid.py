"""Bands with seats kept for the more urgent, fair flows within them, least laxity, and feasibility before all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import ClassVar

from sage_control_plane.policies.bands import Band, band_of
from sage_control_plane.policies.hybrid_settings import HybridSettings
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.laxity import FAR_OFF_SECONDS, deadline, latest_start
from sage_control_plane.policies.overload import Overload
from sage_control_plane.policies.pick import Pick
from sage_control_plane.policies.policy import PolicyType, PoolView
from sage_control_plane.policies.shelves import NEVER, Shelf, Shelves
from sage_control_plane.policies.virtual_counters import VirtualCounters
from sage_control_plane.request.request import PendingRequest

# How long after a request was held back it is looked at again, if nothing happens before: demand fades.
FADING_SECONDS = 0.5

OVERLOADED = "requests of its class arrive faster than they can be begun in time"

_BEFORE_BULK = tuple(band for band in Band if band < Band.BULK)
# Whether a shelf's requests of a lane may be dispatched.
_Rule = Callable[[PoolView, Shelf, Lane], bool]


class HybridSchedulingPolicy:
    """Meets as many targets as it can, shares the rest fairly, and starves no request. The default.

    1. Band: the most important first. Work of a later band takes a seat only beside those that the bands before it are
       expected to need, which follows from how often they arrive and how long they stay (``PoolView.has_room``).
    2. Fair flow: within a band the tenant that has been served least, in engine-seconds by weight, goes first. Each
       tenant has two counters, of urgent work and of all work: bulk work done in spare capacity does not count
       against its urgent requests, but those count against its bulk work.
       Where a tenant is ``lead_seconds`` ahead of another, the other's request of a later band goes first; otherwise a
       tenant with enough chats could keep all others from less urgent work. The same holds for bulk work beyond
       ``bulk_lead_seconds`` of all work.
    3. Laxity: within a tenant's flow the request that can wait least goes first.
    4. Feasibility: a request that no free engine can begin in time gives way to those of its band that can still meet
       their target: it is refused if it may be shed, and otherwise is late, which keeps it ahead of later bands, by
       arrival. Plain deadline order collapses past saturation; this prevents it (SCORPIO, arXiv 2505.23022; SLOs-Serve,
       2504.08784).

    Bound: where a band's requests wait for an open lane and it has held no seat for ``starvation_seconds``, it gets one
    (once an engine is free), so a request with k others before it waits for at most k + 1 times that and an answer.

    It trades a little throughput (the seats kept) and the order of arrival for targets, and relies on predictions for
    feasibility; without a trusted one, a request is infeasible only when its deadline has passed.
    """

    name: ClassVar[str] = "hybrid"

    def __init__(self, settings: HybridSettings | None = None) -> None:
        settings = settings or HybridSettings()
        self._settings = settings
        self._shelves = Shelves(settings.weights)
        self._overload = Overload(settings.late_multiple)
        # When late requests are refused; those that have left are passed over.
        self._due: list[tuple[float, str]] = []
        self._removed: tuple[str, Shelf | None] = ("", None)
        self._change_at: float | None = None

    def __len__(self) -> int:
        return len(self._shelves)

    def refusal(self, request: PendingRequest, now: float, view: PoolView) -> str | None:
        band, shelves, tenant = band_of(request), self._shelves, request.tenant
        flows = shelves.of(band).flows
        if not flows or not self._overload.refuses(request):
            return None
        # What waits for other models only does not stand before it.
        if not self._shelves.waits_for(request.classification.route):
            return None
        ttft = view.predicted_ttft_seconds(request) or 0.0
        if self._overload.surely_in_time(request, band, len(flows), ttft, now):
            return None
        # Who sends too much waits behind itself, so others are not refused for it.
        fresh = flows.turns_before(tenant)
        if not fresh:
            return None
        late, turnover = shelves.of(band, late=True).flows.turns_before(tenant), view.turnover(request)
        return OVERLOADED if self._overload.too_late(request, band, fresh, late, turnover, ttft, now) else None

    def push(self, request: PendingRequest, lane: Lane, now: float, view: PoolView) -> None:
        band = band_of(request)
        # Bulk work can wait and needs no credit.
        credit = 0.0 if band is Band.BULK else self._settings.credit_seconds * view.engines
        self._shelves.put(request, lane, self._shelves.of(band), latest_start(request, view), now, credit)

    def remove(self, request_id: str) -> bool:
        shelf = self._shelves.remove(request_id)
        if shelf is not None:
            self._removed = (request_id, shelf)
        return shelf is not None

    def next(self, now: float, view: PoolView) -> Pick | None:
        self._change_at = None
        if self._due and (overdue := self._overdue(now)) is not None:
            return overdue
        if self._shelves.all_closed:
            return None
        waits = self._shelves.waits_since
        starved_since = now - self._settings.starvation_seconds
        if min(waits) <= starved_since:
            for shelf in reversed(self._shelves):
                if waits[shelf.number] <= starved_since:
                    pick = self._first(shelf, now, view, None if shelf.late else _starves)
                    if pick is not None:
                        return pick
        for shelf in self._shelves:
            since = waits[shelf.number]
            if since == NEVER:
                continue
            pick = self._first(shelf, now, view, _has_room)
            if pick is not None:
                return self._less_served(pick, shelf, now, view) or pick
            self._wake_at(since + self._settings.starvation_seconds, now)
            self._wake_at(now + FADING_SECONDS, now)
        return None

    def _less_served(self, pick: Pick, shelf: Shelf, now: float, view: PoolView) -> Pick | None:
        """Return a request of a later band whose tenant lags the pick's by more than a lead; None without one."""
        urgent, everything = self._shelves.urgent, self._shelves.all
        if shelf.band is Band.BULK or everything.active < 2:
            return None
        tenant, bulk_lead = pick.request.tenant, self._settings.bulk_lead_seconds * view.engines
        most = everything.value(tenant) - bulk_lead
        bulk = self._shelves.of(Band.BULK)
        other = self._served_less(bulk, everything, most, now, view) if everything.any_below(most) else None
        # A tenant's own bulk work is not held against its chats: with them too it must be ahead.
        if other and urgent.value(tenant) - urgent.value(other.request.tenant) > bulk_lead:
            return other
        most = urgent.value(tenant) - self._settings.lead_seconds * view.engines
        if urgent.any_below(most):
            for band in _BEFORE_BULK[shelf.band + 1 :]:
                if other := self._served_less(self._shelves.of(band), urgent, most, now, view):
                    return other
        return None

    def _served_less(
        self, shelf: Shelf, counters: VirtualCounters, most: float, now: float, view: PoolView
    ) -> Pick | None:
        """Return the first pick of a shelf, if its tenant's counter is below ``most``."""
        first = self._shelves.first(shelf, None)
        if first is None or counters.value(first[0].tenant) >= most:
            return None
        pick = self._first(shelf, now, view, None)
        return pick if pick is not None and counters.value(pick.request.tenant) < most else None

    def _wake_at(self, at: float, now: float) -> None:
        if at > now and (self._change_at is None or at < self._change_at):
            self._change_at = at

    def _first(self, shelf: Shelf, now: float, view: PoolView, rule: _Rule | None) -> Pick | None:
        """Return the first feasible request of a shelf, or one to shed; move those before it that are late.

        Args:
            rule: which lanes' requests may be dispatched; None for all.
        """
        admits = None if rule is None else partial(rule, view, shelf)
        while (first := self._shelves.first(shelf, admits)) is not None:
            request, lane = first
            if shelf.late or self._feasible(request, now, view):
                return Pick(request, shelf.name)
            if request.classification.sheddable:
                return Pick(request, shelf.name, shed="no engine can meet the request's deadline")
            late = self._shelves.of(shelf.band, late=True)
            others = late.flows.turns_before(request.tenant)
            if not self._overload.has_room(request, shelf.band, others, view.turnover(request), now):
                return Pick(request, shelf.name, shed=OVERLOADED)
            since = self._shelves.waits_since[shelf.number]
            self._shelves.remove(request.request_id)
            self._shelves.put(request, lane, late, request.arrived_at, since)
            if (due_at := self._overload.due_at(request)) is not None:
                heappush(self._due, (due_at, request.request_id))
        return None

    def _overdue(self, now: float) -> Pick | None:
        """Return a late request that has waited too long."""
        while self._due:
            due_at, request_id = self._due[0]
            queued = self._shelves.find(request_id)
            if queued is not None and queued[2].late:
                if due_at > now:
                    self._wake_at(due_at, now)
                    return None
                request, _, shelf = queued
                self._overload.waited_in_vain(request, shelf.band, now)
                return Pick(request, shelf.name, shed="it would begin far beyond its target")
            heappop(self._due)
        return None

    def _feasible(self, request: PendingRequest, now: float, view: PoolView) -> bool:
        due = deadline(request)
        reserve = self._settings.margin * (due - request.arrived_at)
        slack = due - reserve - now
        if slack <= 0 or slack > FAR_OFF_SECONDS:
            return slack > 0
        return view.can_begin_within(request, slack)

    def open(self, lane: Lane) -> None:
        self._shelves.open(lane)

    def close(self, lane: Lane) -> None:
        self._shelves.close(lane)

    def dispatched(self, request: PendingRequest, engine_seconds: float, now: float) -> None:
        removed_id, shelf = self._removed
        if shelf is not None and removed_id == request.request_id:
            late = None if shelf.late else len(self._shelves.of(shelf.band, late=True).flows)
            self._overload.dispatched(shelf.band, now, late=late)
            self._shelves.served(shelf, now)
        self._shelves.charge(request, engine_seconds)

    def settled(self, request: PendingRequest, engine_seconds: float) -> None:
        self._shelves.charge(request, engine_seconds)

    def ranks_before_bulk(self, request: PendingRequest) -> bool:
        return band_of(request) < Band.BULK

    def next_change_at(self) -> float | None:
        return self._change_at


def _has_room(view: PoolView, shelf: Shelf, lane: Lane) -> bool:
    """Return whether a lane's requests may take a seat beside what more urgent work needs."""
    return view.has_room(lane.route, shelf.band, late=shelf.late)


def _starves(view: PoolView, shelf: Shelf, lane: Lane) -> bool:
    """Return whether the band holds no seat where the lane's requests may get one."""
    return not view.holds_seat(lane.route, shelf.band)


HYBRID = PolicyType("hybrid", HybridSettings, HybridSchedulingPolicy)
