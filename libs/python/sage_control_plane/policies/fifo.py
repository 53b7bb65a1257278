"""Arrival order."""

from __future__ import annotations

from typing import ClassVar

from sage_control_plane.policies.policy import NoSettings, PolicyType, PoolView
from sage_control_plane.policies.static_key import StaticKeyPolicy
from sage_control_plane.request.request import PendingRequest


class FifoSchedulingPolicy(StaticKeyPolicy):
    """First come, first served, by arrival at the edge; a retried request keeps its place.

    The baseline: no request is overtaken within its lane, and an urgent one waits behind all earlier bulk work.
    """

    name: ClassVar[str] = "fifo"

    def key(self, request: PendingRequest, now: float, view: PoolView) -> float:
        return request.arrived_at


FIFO = PolicyType("fifo", NoSettings, lambda settings: FifoSchedulingPolicy())
