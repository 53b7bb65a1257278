"""The queue of the hybrid policy: for each band, the requests that can meet their target and those that are late."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sage_control_plane.policies.bands import Band, band_of, level_of
from sage_control_plane.policies.fair_flows import FairFlows
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.virtual_counters import VirtualCounters
from sage_control_plane.request.request import PendingRequest, Route

NEVER = float("inf")
_BULK = level_of(Band.BULK, late=False)


class Shelf:
    """The requests of one band that can meet their target, or those that are late.

    Attributes:
        number: its place in the order in which shelves are served.
        name: for explanations.
    """

    __slots__ = ("band", "flows", "late", "name", "number")

    def __init__(self, band: Band, late: bool, flows: FairFlows) -> None:
        self.band = band
        self.late = late
        self.number = level_of(band, late=late)
        self.flows = flows
        self.name = f"{band.name.lower()}, late" if late else band.name.lower()


class Shelves:
    """All shelves, with what each tenant was served.

    Args:
        weights: shares of the tenants; 1 for those not named.

    Attributes:
        urgent: what each tenant was served of urgent work.
        all: what each tenant was served of all work.
        waits_since: since when each shelf has been waiting for a dispatch; infinity for those that are empty.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.urgent = VirtualCounters(weights)
        self.all = VirtualCounters(weights)
        self._closed: set[Lane] = set()
        self._in_order = [
            Shelf(band, late, FairFlows(self.all if band is Band.BULK else self.urgent, self._closed))
            for band in Band
            for late in (False, True)
        ]
        self.waits_since = [NEVER] * len(self._in_order)
        self._queued: dict[str, tuple[PendingRequest, Lane, Shelf]] = {}
        self._lanes: dict[Lane, int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._queued)

    def __iter__(self) -> Iterator[Shelf]:
        """Yield the shelves in the order in which they are served."""
        return iter(self._in_order)

    def __reversed__(self) -> Iterator[Shelf]:
        return reversed(self._in_order)

    def of(self, band: Band, *, late: bool = False) -> Shelf:
        """Return a band's shelf."""
        return self._in_order[level_of(band, late=late)]

    def find(self, request_id: str) -> tuple[PendingRequest, Lane, Shelf] | None:
        """Return a queued request with its place; None when it is not queued."""
        return self._queued.get(request_id)

    @property
    def all_closed(self) -> bool:
        """Whether no request is in an open lane."""
        return len(self._closed) == len(self._lanes)

    def waits_for(self, route: Route) -> bool:
        """Whether a request of the route is queued that no engine has failed."""
        return Lane(route) in self._lanes

    def put(
        self, request: PendingRequest, lane: Lane, shelf: Shelf, key: float, since: float, credit: float = 0.0
    ) -> None:
        """Put a request on a shelf; the smallest key goes first within a tenant.

        Args:
            since: since when the shelf waits for a dispatch if it was empty, at the latest.
            credit: as for ``VirtualCounters.joined``.
        """
        self.waits_since[shelf.number] = min(since, self.waits_since[shelf.number])
        self._sequence += 1
        self._queued[request.request_id] = (request, lane, shelf)
        self._lanes[lane] = self._lanes.get(lane, 0) + 1
        shelf.flows.push(request.request_id, request.tenant, lane, (key, self._sequence), credit)
        if shelf.band is not Band.BULK:
            self.all.joined(request.tenant)

    def remove(self, request_id: str) -> Shelf | None:
        """Remove a request; return its shelf, None when it was not queued."""
        queued = self._queued.pop(request_id, None)
        if queued is None:
            return None
        request, lane, shelf = queued
        shelf.flows.remove(request_id)
        if shelf.band is not Band.BULK:
            self.all.left(request.tenant)
        if self._lanes[lane] > 1:
            self._lanes[lane] -= 1
        else:
            del self._lanes[lane]
            self._closed.discard(lane)
        if not shelf.flows:
            self.waits_since[shelf.number] = NEVER
        return shelf

    def first(self, shelf: Shelf, admits: Callable[[Lane], bool] | None) -> tuple[PendingRequest, Lane] | None:
        """Return the request that goes first on a shelf among the open lanes that ``admits`` lets pass."""
        request_id = shelf.flows.first()
        if request_id is None:
            return None
        request, lane, _ = self._queued[request_id]
        if admits is None or admits(lane):
            return request, lane
        if shelf.flows.lanes == 1:
            return None
        # It rarely comes to that, and to pass lanes over costs more.
        request_id = shelf.flows.first(admits)
        return None if request_id is None else self._queued[request_id][:2]

    def open(self, lane: Lane) -> None:
        """Allow requests of a lane."""
        if lane in self._closed:
            self._closed.discard(lane)
            if len(self._lanes) > 1:
                for shelf in self._in_order:
                    shelf.flows.opened(lane)

    def close(self, lane: Lane) -> None:
        """Pass over the requests of a lane until it is opened."""
        if lane in self._lanes:
            self._closed.add(lane)

    def served(self, shelf: Shelf, now: float) -> None:
        """Note that a request of a shelf was dispatched."""
        if shelf.flows:
            self.waits_since[shelf.number] = now

    def charge(self, request: PendingRequest, engine_seconds: float) -> None:
        """Charge a request's tenant; negative refunds."""
        tenant = request.tenant
        if self.all.charge(tenant, engine_seconds):
            for shelf in self._in_order[_BULK:]:
                shelf.flows.lowered(tenant)
        if band_of(request) is not Band.BULK and self.urgent.charge(tenant, engine_seconds):
            for shelf in self._in_order[:_BULK]:
                shelf.flows.lowered(tenant)
