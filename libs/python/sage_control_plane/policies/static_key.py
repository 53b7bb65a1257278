"""Base of policies whose order is a key that a request gets once, when it is queued."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from sage_control_plane.policies.keyed_lanes import KeyedLanes
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.pick import Pick
from sage_control_plane.policies.policy import PoolView
from sage_control_plane.request.request import PendingRequest


class StaticKeyPolicy(ABC):
    """Orders requests by a key that a subclass defines; equal keys go in order of submission."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self._lanes = KeyedLanes()
        self._picks: dict[str, Pick] = {}
        self._sequence = 0

    @abstractmethod
    def key(self, request: PendingRequest, now: float, view: PoolView) -> Any:
        """Return the key; the smallest goes first."""

    def band(self, request: PendingRequest) -> str:
        """Return the name of the request's group, for explanations."""
        return request.classification.service_class.name.lower()

    def __len__(self) -> int:
        return len(self._lanes)

    def refusal(self, request: PendingRequest, now: float, view: PoolView) -> str | None:
        return None

    def push(self, request: PendingRequest, lane: Lane, now: float, view: PoolView) -> None:
        self._sequence += 1
        self._picks[request.request_id] = Pick(request, self.band(request))
        self._lanes.push(request.request_id, lane, (self.key(request, now, view), self._sequence))

    def remove(self, request_id: str) -> bool:
        self._picks.pop(request_id, None)
        return self._lanes.remove(request_id)

    def next(self, now: float, view: PoolView) -> Pick | None:
        first = self._lanes.first()
        return None if first is None else self._picks[first]

    def open(self, lane: Lane) -> None:
        self._lanes.open(lane)

    def close(self, lane: Lane) -> None:
        self._lanes.close(lane)

    # A static order does not depend on who was served, so nothing is charged.

    def dispatched(  # noqa: B027 - subclasses need not override it
        self, request: PendingRequest, engine_seconds: float, now: float
    ) -> None:
        """Charge nothing."""

    def settled(self, request: PendingRequest, engine_seconds: float) -> None:  # noqa: B027
        """Charge nothing."""

    def ranks_before_bulk(self, request: PendingRequest) -> bool:
        return False

    def next_change_at(self) -> float | None:
        return None
