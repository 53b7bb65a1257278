"""One band of the hybrid policy: a flow for each tenant, ordered by service received, and laxity within it."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from sage_common.removable_heap import RemovableHeap
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.virtual_counters import VirtualCounters


class _LaneFlows:
    """The flows of one lane: a heap of each tenant's requests, and a heap of the tenants."""

    __slots__ = ("flows", "tenants")

    def __init__(self) -> None:
        self.flows: dict[str, RemovableHeap[str]] = {}
        self.tenants: RemovableHeap[str] = RemovableHeap()


class FairFlows:
    """The queued id that goes first among the open lanes, in O(log n) plus the lanes that its tenant waits in.

    Order: the tenant's counter, then the request's own key. Keys must be unique.

    Args:
        closed: the closed lanes; maintained by the caller, who calls ``opened`` when one opens. Lanes of a busy pool
            close and open with every request, so a closed lane is only removed when ``first`` finds it, and places
            among several lanes are only updated when it looks.
    """

    def __init__(self, counters: VirtualCounters, closed: Set[Lane]) -> None:
        self._counters = counters
        self._lanes: dict[Lane, _LaneFlows] = {}
        self._lanes_of: dict[str, set[Lane]] = {}
        self._where: dict[str, tuple[Lane, str]] = {}
        self._heads: RemovableHeap[Lane] = RemovableHeap()
        # Lanes whose place among the heads may have changed.
        self._moved: set[Lane] = set()
        self._closed = closed

    def __len__(self) -> int:
        return len(self._where)

    @property
    def lanes(self) -> int:
        """Lanes with queued ids."""
        return len(self._lanes)

    def turns_before(self, tenant: str) -> int:
        """Return how many requests go before one more of a tenant, if each tenant's turn comes as often."""
        lanes = self._lanes_of.get(tenant)
        if lanes is None:
            return 0
        own = sum([len(self._lanes[lane].flows[tenant]) for lane in lanes])
        return min(len(self._where), own * len(self._lanes_of))

    def push(self, request_id: str, tenant: str, lane: Lane, key: Any, credit: float = 0.0) -> None:
        """Queue an id that is not queued; ``credit`` as for ``VirtualCounters.joined``."""
        self._counters.joined(tenant, credit)
        lane_flows = self._lanes.get(lane)
        if lane_flows is None:
            lane_flows = self._lanes[lane] = _LaneFlows()
            if len(self._lanes) == 2:
                # Until now there was nothing to compare.
                self._moved.update(self._lanes)
        flow = lane_flows.flows.get(tenant)
        if flow is None:
            flow = lane_flows.flows[tenant] = RemovableHeap()
            self._lanes_of.setdefault(tenant, set()).add(lane)
        flow.push(request_id, key)
        self._where[request_id] = (lane, tenant)
        first = flow.peek()
        if first is not None and first[1] == request_id:
            self._show(tenant, lane, lane_flows)

    def remove(self, request_id: str) -> bool:
        """Take an id out; return whether it was queued."""
        where = self._where.pop(request_id, None)
        if where is None:
            return False
        lane, tenant = where
        lane_flows = self._lanes[lane]
        flow = lane_flows.flows[tenant]
        first = flow.peek()
        flow.remove(request_id)
        self._counters.left(tenant)
        if flow:
            if first is not None and first[1] == request_id:
                self._show(tenant, lane, lane_flows)
            return True
        del lane_flows.flows[tenant]
        lane_flows.tenants.remove(tenant)
        lanes = self._lanes_of[tenant]
        lanes.discard(lane)
        if not lanes:
            del self._lanes_of[tenant]
        if lane_flows.flows:
            if len(self._lanes) > 1:
                self._moved.add(lane)
        else:
            del self._lanes[lane]
            self._moved.discard(lane)
            self._heads.remove(lane)
        return True

    def first(self, admits: Callable[[Lane], bool] | None = None) -> str | None:
        """Return the id that goes first among the open lanes that ``admits`` lets pass; None when they are empty."""
        if len(self._lanes) == 1:
            (lane,) = self._lanes
            if lane in self._closed or (admits is not None and not admits(lane)):
                return None
            return self._first_of(lane)
        if self._moved:
            self._update_heads()
        passed_over: list[Lane] = []
        found = None
        while (head := self._heads.peek()) is not None:
            lane = head[1]
            if lane in self._closed:
                self._heads.remove(lane)
                continue
            first = self._first_of(lane)
            if self._moved:
                # Its first tenant was served since it was placed here.
                self._update_heads()
                continue
            if admits is not None and not admits(lane):
                passed_over.append(lane)
                self._heads.remove(lane)
                continue
            found = first
            break
        self._moved.update(passed_over)
        return found

    def lowered(self, tenant: str) -> None:
        """Update the place of a tenant whose counter has become smaller. Growth needs no call."""
        for lane in self._lanes_of.get(tenant, ()):
            self._show(tenant, lane, self._lanes[lane])

    def opened(self, lane: Lane) -> None:
        """Let ``first`` look at the lane again."""
        if lane in self._lanes:
            self._moved.add(lane)

    def _first_of(self, lane: Lane) -> str:
        """Return the id that goes first in a lane."""
        lane_flows, value = self._lanes[lane], self._counters.value
        while (place := lane_flows.tenants.peek()) is not None and value(place[1]) > place[0][0]:
            # Counters grow with every request, so a tenant's place is only updated when it comes to the top.
            self._show(place[1], lane, lane_flows)
        assert place is not None
        first = lane_flows.flows[place[1]].peek()
        assert first is not None
        return first[1]

    def _show(self, tenant: str, lane: Lane, lane_flows: _LaneFlows) -> None:
        """Place a tenant in a lane by its counter and its first request."""
        first = lane_flows.flows[tenant].peek()
        assert first is not None
        lane_flows.tenants.push(tenant, (self._counters.value(tenant), first[0]))
        if len(self._lanes) > 1:
            self._moved.add(lane)

    def _update_heads(self) -> None:
        """Place the open lanes that have moved by their first tenants."""
        for lane in self._moved:
            if lane not in self._closed:
                first = self._lanes[lane].tenants.peek()
                if first is not None and self._heads.key(lane) is not first[0]:
                    self._heads.push(lane, first[0])
        self._moved.clear()
