"""The queue of one pool: a policy, the bounds of admission, and the lanes in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sage_common.errors import ContendedError
from sage_control_plane.policies.admission import Admission
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.pick import Pick
from sage_control_plane.policies.policy import PoolView, SchedulingPolicy
from sage_control_plane.request.request import PendingRequest, Route


class WorkQueue:
    """Keeps policy, admission and lanes in step."""

    def __init__(self, policy: SchedulingPolicy, admission: Admission, view: PoolView) -> None:
        self._policy = policy
        self._view = view
        self._lanes: dict[Route, dict[Lane, int]] = {}
        self._before_bulk: dict[Route, dict[str, PendingRequest]] = {}
        self._queued: dict[str, tuple[PendingRequest, Lane]] = {}
        self.admission = admission

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def policy(self) -> SchedulingPolicy:
        """The policy in force."""
        return self._policy

    def refusal(self, request: PendingRequest, now: float) -> ContendedError | None:
        """Return the error that keeps a request out of the queue; None when it may join."""
        refusal = self.admission.refusal(request, now)
        if refusal is None and (why := self._policy.refusal(request, now, self._view)) is not None:
            refusal = self.admission.contended(why, now)
        return refusal

    def join(self, request: PendingRequest, lane: Lane, now: float) -> None:
        """Queue a request whose id is not queued."""
        self._queued[request.request_id] = (request, lane)
        lanes = self._lanes.setdefault(lane.route, {})
        lanes[lane] = lanes.get(lane, 0) + 1
        self.admission.joined(request)
        self._push(request, lane, now)

    def _push(self, request: PendingRequest, lane: Lane, now: float) -> None:
        self._policy.push(request, lane, now, self._view)
        if self._policy.ranks_before_bulk(request):
            self._before_bulk.setdefault(lane.route, {})[request.request_id] = request

    def leave(self, request_id: str) -> None:
        """Remove a queued request."""
        request, lane = self._queued.pop(request_id)
        self._policy.remove(request_id)
        if before_bulk := self._before_bulk.get(lane.route):
            before_bulk.pop(request_id, None)
        self.admission.left(request)
        lanes = self._lanes[lane.route]
        if lanes[lane] > 1:
            lanes[lane] -= 1
        else:
            del lanes[lane]

    def drained(self, request: PendingRequest, engine_seconds: float, now: float) -> None:
        """Charge a dispatched request with its estimated cost, and add it to the drain rate."""
        self._policy.dispatched(request, engine_seconds, now)
        self.admission.drained(request, now)

    def settled(self, request: PendingRequest, engine_seconds: float) -> None:
        """Charge an ended request with its cost beyond the estimate; negative refunds."""
        self._policy.settled(request, engine_seconds)

    def next(self, now: float) -> Pick | None:
        """Return the policy's next pick; None when there is none."""
        return self._policy.next(now, self._view)

    def before_bulk(self) -> Mapping[Route, Mapping[str, PendingRequest]]:
        """Return the queued requests for which running bulk answers may be interrupted, by route and id, in order."""
        return self._before_bulk

    def close(self, lane: Lane) -> None:
        """Stop serving a lane: no engine is free for it."""
        self._policy.close(lane)

    def open(self, routes: Iterable[Route]) -> None:
        """Serve the lanes of these routes again: an engine may be free for them."""
        for route in routes:
            for lane in self._lanes.get(route, ()):
                self._policy.open(lane)

    def queued_for(self, route: Route) -> list[str]:
        """Return the ids queued for a route. O(queued); only used when all its engines are gone."""
        return [request_id for request_id, (_, lane) in self._queued.items() if lane.route == route]

    def switch(self, policy: SchedulingPolicy, now: float) -> None:
        """Move all queued requests to another policy, in the order in which they joined."""
        self._policy = policy
        self._before_bulk.clear()
        for request, lane in self._queued.values():
            self._push(request, lane, now)
