"""The yardstick above all policies: one that knows how long every answer will be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import ClassVar

from sage_control_plane.policies.keyed_lanes import KeyedLanes
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.laxity import deadline, latest_start
from sage_control_plane.policies.pick import Pick
from sage_control_plane.policies.policy import PoolView
from sage_control_plane.request.request import PendingRequest, ServiceClass


class ClairvoyantOrder(Enum):
    """In which order work with a near target goes. Neither is best for every workload: take the better of the two."""

    LAXITY = "laxity"
    COST = "cost"


class ClairvoyantPolicy:
    """Maximises goodput alone: fairness, waiting and requests that are late already count for nothing.

    Work with a near target goes first, by laxity or the cheapest first; then bulk work, the cheapest first, in the room
    that ``bulk_limit`` leaves; last and least whatever has missed its target, since it counts no more.

    Args:
        engine_seconds: what each request will really cost, by id.
        bulk_limit: saturation up to which bulk work is dispatched while near targets come in.
        until: when the last request arrives; after that bulk work may fill everything.
        worthwhile: requests with a near target that are worth serving; others count as late from the beginning. None:
            all are.
    """

    name: ClassVar[str] = "clairvoyant"

    def __init__(
        self,
        engine_seconds: Mapping[str, float],
        order: ClairvoyantOrder,
        bulk_limit: float,
        until: float,
        worthwhile: Collection[str] | None = None,
    ) -> None:
        self._cost = engine_seconds
        self._order = order
        self._bulk_limit = bulk_limit
        self._until = until
        self._worthwhile = worthwhile
        self._near = KeyedLanes()
        self._bulk = KeyedLanes()
        self._late = KeyedLanes()
        self._requests: dict[str, tuple[PendingRequest, Lane]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def refusal(self, request: PendingRequest, now: float, view: PoolView) -> str | None:
        return None

    def push(self, request: PendingRequest, lane: Lane, now: float, view: PoolView) -> None:
        request_id = request.request_id
        self._requests[request_id] = (request, lane)
        cost = self._cost[request_id]
        if request.classification.service_class is ServiceClass.BULK:
            self._bulk.push(request_id, lane, (cost, request_id))
        elif self._worthwhile is not None and request_id not in self._worthwhile:
            self._late.push(request_id, lane, (cost, request_id))
        elif self._order is ClairvoyantOrder.COST:
            self._near.push(request_id, lane, (cost, request_id))
        else:
            self._near.push(request_id, lane, (latest_start(request, view), request_id))

    def remove(self, request_id: str) -> bool:
        if self._requests.pop(request_id, None) is None:
            return False
        return self._near.remove(request_id) or self._bulk.remove(request_id) or self._late.remove(request_id)

    def next(self, now: float, view: PoolView) -> Pick | None:
        while (request_id := self._near.first()) is not None:
            request, lane = self._requests[request_id]
            if view.can_begin_within(request, deadline(request) - now):
                return Pick(request, "near")
            self._near.remove(request_id)
            self._late.push(request_id, lane, (self._cost[request_id], request_id))
        if now < self._until and view.saturation >= self._bulk_limit:
            return None
        request_id = self._bulk.first() or self._late.first()
        return None if request_id is None else Pick(self._requests[request_id][0], "spare")

    def open(self, lane: Lane) -> None:
        for lanes in (self._near, self._bulk, self._late):
            lanes.open(lane)

    def close(self, lane: Lane) -> None:
        for lanes in (self._near, self._bulk, self._late):
            lanes.close(lane)

    def dispatched(self, request: PendingRequest, engine_seconds: float, now: float) -> None:
        """Charge nobody."""

    def settled(self, request: PendingRequest, engine_seconds: float) -> None:
        """Charge nobody."""

    def ranks_before_bulk(self, request: PendingRequest) -> bool:
        return False

    def next_change_at(self) -> float | None:
        return None
