"""Bands with holdback, fair flows within them, least laxity within those, and feasibility before all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Lt

from sage_common.setting_marks import Alias
from sage_control_plane.policies.bands import Band, band_of
from sage_control_plane.policies.fair_flows import FairFlows
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.laxity import deadline, latest_start
from sage_control_plane.policies.policy import Pick, PolicyType, PoolView
from sage_control_plane.policies.virtual_counters import VirtualCounters
from sage_control_plane.request.request import PendingRequest

# With this much time left a request is feasible whatever is predicted.
FAR_OFF_SECONDS = 30.0

_NEVER = float("inf")
_FIRST_FIRST = tuple(Band)
_LAST_FIRST = tuple(reversed(Band))


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """Settings of bands, flows and feasibility.

    Attributes:
        holdback_most: saturation up to which the first band may dispatch.
        holdback_least: saturation up to which the last band may; those between are evenly spaced.
        holdback_memory_seconds: how long after the last request of an earlier band a later one is held back for it.
        starvation_seconds: a band that has waited this long for a dispatch gets one, whatever the saturation.
        lead_seconds: seconds of the whole pool's work by which a tenant may be ahead of another before that one's less
            urgent requests go first.
        bulk_lead_seconds: the same, before that one's bulk work goes first.
        credit_seconds: seconds of the whole pool's work by which a tenant that sends something after a pause may be
            behind the others; what it does not use in longer pauses is lost.
        margin: share of a target that is kept in reserve when a request is judged feasible.
        weights: shares of the tenants; 1 for those not named.
    """

    holdback_most: Annotated[float, Gt(0), Alias()] = 1.0
    holdback_least: Annotated[float, Gt(0), Alias()] = 0.3
    holdback_memory_seconds: Annotated[float, Ge(0), Alias()] = 10.0
    starvation_seconds: Annotated[float, Gt(0), Alias()] = 10.0
    lead_seconds: Annotated[float, Ge(0)] = 0.5
    bulk_lead_seconds: Annotated[float, Ge(0)] = 5.0
    credit_seconds: Annotated[float, Ge(0)] = 0.5
    margin: Annotated[float, Ge(0), Lt(1)] = 0.05
    weights: Annotated[Mapping[str, float], Alias("tenant_weights")] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for a figure out of range."""
        if not 0 < self.holdback_least <= self.holdback_most:
            raise ValueError(
                f"holdback is {self.holdback_most} to {self.holdback_least}; it must fall, and stay above 0"
            )
        if self.starvation_seconds <= 0:
            raise ValueError(f"starvation_seconds is {self.starvation_seconds}; it must be above 0")
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin is {self.margin}; it must be in [0, 1)")
        for tenant, weight in self.weights.items():
            if weight <= 0:
                raise ValueError(f"the weight of tenant {tenant!r} is {weight}; it must be above 0")


class HybridSchedulingPolicy:
    """Meets as many targets as it can, shares the rest fairly, and starves no request. The default.

    1. Band: the most important first. A later band dispatches only up to a saturation that falls from band to band
       (priority holdback), so that engines keep room for more important work, as long as some has arrived recently.
    2. Fair flow: within a band the tenant that has been served least, in engine-seconds by weight, goes first. Each
       tenant has two counters, of urgent work and of all work: bulk work done in spare capacity does not count
       against its urgent requests, but those count against its bulk work.
       Where a tenant is ``lead_seconds`` ahead of another, the other's request of a later band goes first; otherwise a
       tenant with enough chats could keep all others from less urgent work. The same holds for bulk work beyond
       ``bulk_lead_seconds`` of all work.
    3. Laxity: within a tenant's flow the request that can wait least goes first.
    4. Feasibility: a request that no free engine can begin in time gives way to those that can still meet their
       target: it is refused if it may be shed, and otherwise continues as best effort, by arrival. Plain deadline
       order collapses past saturation; this prevents it (SCORPIO, arXiv 2505.23022; SLOs-Serve, 2504.08784).

    Bound: a band in which something waits for an open lane gets a dispatch at least every ``starvation_seconds``
    (once an engine is free), so a request with k others before it in its band waits for at most k + 1 times that.

    It trades a little throughput (the holdback) and the order of arrival for targets, and relies on predictions for
    feasibility; without a trusted one, a request is infeasible only when its deadline has passed.
    """

    name: ClassVar[str] = "hybrid"

    def __init__(self, settings: HybridSettings | None = None) -> None:
        settings = settings or HybridSettings()
        self._settings = settings
        self._urgent = VirtualCounters(settings.weights)
        self._all = VirtualCounters(settings.weights)
        self._closed: set[Lane] = set()
        self._bands = [FairFlows(self._all if band is Band.BULK else self._urgent, self._closed) for band in Band]
        step = (settings.holdback_most - settings.holdback_least) / (len(Band) - 1)
        self._limits = [settings.holdback_most - band * step for band in Band]
        self._queued: dict[str, tuple[PendingRequest, Lane, Band]] = {}
        self._lanes: dict[Lane, int] = {}
        self._removed: tuple[str, Band] = ("", Band.BULK)
        self._sequence = 0
        # When each band last got a request, and since when it has been waiting for a dispatch.
        self._pushed_at = [-_NEVER] * len(Band)
        self._waits_since = [_NEVER] * len(Band)
        self._change_at: float | None = None

    def __len__(self) -> int:
        return len(self._queued)

    def push(self, request: PendingRequest, lane: Lane, now: float, view: PoolView) -> None:
        band = band_of(request)
        self._pushed_at[band] = now
        # Bulk work can wait and needs no credit.
        credit = 0.0 if band is Band.BULK else self._settings.credit_seconds * view.engines
        self._enter(request, lane, band, latest_start(request, view), now, credit)

    def _enter(
        self, request: PendingRequest, lane: Lane, band: Band, key: float, now: float, credit: float = 0.0
    ) -> None:
        flows = self._bands[band]
        if not flows:
            self._waits_since[band] = now
        self._sequence += 1
        self._queued[request.request_id] = (request, lane, band)
        self._lanes[lane] = self._lanes.get(lane, 0) + 1
        flows.push(request.request_id, request.tenant, lane, (key, self._sequence), credit)
        if band is not Band.BULK:
            self._all.joined(request.tenant)

    def remove(self, request_id: str) -> bool:
        queued = self._queued.pop(request_id, None)
        if queued is None:
            return False
        request, lane, band = queued
        self._removed = (request_id, band)
        flows = self._bands[band]
        flows.remove(request_id)
        if band is not Band.BULK:
            self._all.left(request.tenant)
        if self._lanes[lane] > 1:
            self._lanes[lane] -= 1
        else:
            del self._lanes[lane]
            self._closed.discard(lane)
        if not flows:
            self._waits_since[band] = _NEVER
        return True

    def next(self, now: float, view: PoolView) -> Pick | None:
        self._change_at = None
        if len(self._closed) == len(self._lanes):
            return None
        starved_since = now - self._settings.starvation_seconds
        if min(self._waits_since) <= starved_since:
            for band in _LAST_FIRST:
                if self._waits_since[band] <= starved_since:
                    pick = self._first(band, now, view)
                    if pick is not None:
                        return pick
        saturation = view.saturation
        newest_before = -_NEVER
        for band in _FIRST_FIRST:
            # A band that does not wait is empty.
            if self._waits_since[band] != _NEVER:
                held_until = newest_before + self._settings.holdback_memory_seconds
                limit = self._limits[band if held_until > now else 0]
                if saturation < limit or saturation <= 0.0:
                    pick = self._first(band, now, view)
                    if pick is not None:
                        return self._less_served(pick, band, now, view) or pick
                else:
                    self._wake_at(self._waits_since[band] + self._settings.starvation_seconds, now)
                    if saturation < self._limits[0]:
                        self._wake_at(held_until, now)
            if self._pushed_at[band] > newest_before:
                newest_before = self._pushed_at[band]
        return None

    def _less_served(self, pick: Pick, band: Band, now: float, view: PoolView) -> Pick | None:
        """Return a request of a later band whose tenant lags the pick's by more than a lead; None without one."""
        if band is Band.BULK or self._all.active < 2:
            return None
        tenant = pick.request.tenant
        most = self._all.value(tenant) - self._settings.bulk_lead_seconds * view.engines
        if self._all.any_below(most) and (other := self._served_less(Band.BULK, self._all, most, now, view)):
            return other
        most = self._urgent.value(tenant) - self._settings.lead_seconds * view.engines
        if self._urgent.any_below(most):
            for later in _FIRST_FIRST[band + 1 : Band.BEST_EFFORT]:
                if other := self._served_less(later, self._urgent, most, now, view):
                    return other
        return None

    def _served_less(
        self, band: Band, counters: VirtualCounters, most: float, now: float, view: PoolView
    ) -> Pick | None:
        """Return the first pick of a band, if its tenant's counter is below ``most``."""
        request_id = self._bands[band].first()
        if request_id is None or counters.value(self._queued[request_id][0].tenant) >= most:
            return None
        pick = self._first(band, now, view)
        return pick if pick is not None and counters.value(pick.request.tenant) < most else None

    def _wake_at(self, at: float, now: float) -> None:
        if at > now and (self._change_at is None or at < self._change_at):
            self._change_at = at

    def _first(self, band: Band, now: float, view: PoolView) -> Pick | None:
        """Return the first feasible request of a band, or one to shed; demote the infeasible ones before it."""
        flows = self._bands[band]
        while (request_id := flows.first()) is not None:
            request, lane, _ = self._queued[request_id]
            if band is Band.BEST_EFFORT or self._feasible(request, now, view):
                return Pick(request, band.name.lower())
            if request.classification.sheddable:
                return Pick(request, band.name.lower(), shed="no engine can meet the request's deadline")
            if band is Band.BULK:
                return Pick(request, band.name.lower())
            since = self._waits_since[band]
            self.remove(request_id)
            self._enter(request, lane, Band.BEST_EFFORT, request.arrived_at, now)
            self._waits_since[Band.BEST_EFFORT] = min(since, self._waits_since[Band.BEST_EFFORT])
        return None

    def _feasible(self, request: PendingRequest, now: float, view: PoolView) -> bool:
        due = deadline(request)
        reserve = self._settings.margin * (due - request.arrived_at)
        slack = due - reserve - now
        if slack <= 0 or slack > FAR_OFF_SECONDS:
            return slack > 0
        return view.can_begin_within(request, slack)

    def open(self, lane: Lane) -> None:
        if lane in self._closed:
            self._closed.discard(lane)
            for flows in self._bands:
                flows.opened(lane)

    def close(self, lane: Lane) -> None:
        if lane in self._lanes:
            self._closed.add(lane)

    def dispatched(self, request: PendingRequest, engine_seconds: float, now: float) -> None:
        removed_id, band = self._removed
        if removed_id == request.request_id and self._bands[band]:
            self._waits_since[band] = now
        self.settled(request, engine_seconds)

    def settled(self, request: PendingRequest, engine_seconds: float) -> None:
        tenant = request.tenant
        if self._all.charge(tenant, engine_seconds):
            self._bands[Band.BULK].lowered(tenant)
        if band_of(request) is not Band.BULK and self._urgent.charge(tenant, engine_seconds):
            for flows in self._bands[: Band.BULK]:
                flows.lowered(tenant)

    def next_change_at(self) -> float | None:
        return self._change_at


HYBRID = PolicyType("hybrid", HybridSettings, HybridSchedulingPolicy)
