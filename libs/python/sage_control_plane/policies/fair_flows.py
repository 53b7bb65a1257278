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
            close and open with every request, so a closed lane is only removed when ``first`` finds it.
    """

    def __init__(self, counters: VirtualCounters, closed: Set[Lane]) -> None:
        self._counters = counters
        self._lanes: dict[Lane, _LaneFlows] = {}
        self._lanes_of: dict[str, set[Lane]] = {}
        self._where: dict[str, tuple[Lane, str]] = {}
        self._heads: RemovableHeap[Lane] = RemovableHeap()
        self._closed = closed

    def __len__(self) -> int:
        return len(self._where)

    def turns_before(self, tenant: str) -> int:
        """Return how many requests go before one more of a tenant, if each tenant's turn comes as often."""
        own = sum(len(self._lanes[lane].flows[tenant]) for lane in self._lanes_of.get(tenant, ()))
        return min(len(self._where), own * len(self._lanes_of))

    def push(self, request_id: str, tenant: str, lane: Lane, key: Any, credit: float = 0.0) -> None:
        """Queue an id that is not queued; ``credit`` as for ``VirtualCounters.joined``."""
        self._counters.joined(tenant, credit)
        lane_flows = self._lanes.get(lane)
        if lane_flows is None:
            lane_flows = self._lanes[lane] = _LaneFlows()
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
            self._show_head(lane, lane_flows)
        else:
            del self._lanes[lane]
            self._heads.remove(lane)
        return True

    def first(self, admits: Callable[[Lane], bool] | None = None) -> str | None:
        """Return the id that goes first among the open lanes that ``admits`` lets pass; None when they are empty."""
        passed_over: list[Lane] = []
        found = None
        while (head := self._heads.peek()) is not None:
            lane = head[1]
            if lane in self._closed:
                self._heads.remove(lane)
                continue
            lane_flows = self._lanes[lane]
            tenant = lane_flows.tenants.peek()
            assert tenant is not None
            if self._counters.value(tenant[1]) > tenant[0][0]:
                # Counters grow with every request, so a tenant's place is only updated when it comes to the top.
                self._show(tenant[1], lane, lane_flows)
                continue
            if admits is not None and not admits(lane):
                if len(self._lanes) == 1:
                    break
                passed_over.append(lane)
                self._heads.remove(lane)
                continue
            first = lane_flows.flows[tenant[1]].peek()
            assert first is not None
            found = first[1]
            break
        for lane in passed_over:
            self._show_head(lane, self._lanes[lane])
        return found

    def lowered(self, tenant: str) -> None:
        """Update the place of a tenant whose counter has become smaller. Growth needs no call."""
        for lane in self._lanes_of.get(tenant, ()):
            self._show(tenant, lane, self._lanes[lane])

    def opened(self, lane: Lane) -> None:
        """Let ``first`` look at the lane again."""
        lane_flows = self._lanes.get(lane)
        if lane_flows is not None:
            self._show_head(lane, lane_flows)

    def _show(self, tenant: str, lane: Lane, lane_flows: _LaneFlows) -> None:
        """Place a tenant in a lane by its counter and its first request."""
        first = lane_flows.flows[tenant].peek()
        assert first is not None
        lane_flows.tenants.push(tenant, (self._counters.value(tenant), first[0]))
        self._show_head(lane, lane_flows)

    def _show_head(self, lane: Lane, lane_flows: _LaneFlows) -> None:
        if lane in self._closed:
            return
        first = lane_flows.tenants.peek()
        if first is not None and self._heads.key(lane) is not first[0]:
            self._heads.push(lane, first[0])
