"""Least laxity first."""

from __future__ import annotations

from typing import ClassVar

from sage_control_plane.policies.laxity import latest_start
from sage_control_plane.policies.policy import NoSettings, PolicyType, PoolView
from sage_control_plane.policies.static_key import StaticKeyPolicy
from sage_control_plane.request.request import PendingRequest


class SloAwareSchedulingPolicy(StaticKeyPolicy):
    """The request with the least laxity goes first.

    ``laxity = deadline - now - predicted TTFT``; ``now`` is common to all, so ``deadline - predicted TTFT`` is a
    static key. Without a trusted prediction it is earliest deadline first.

    Bound: deadlines are at most the longest target after arrival, so a request is overtaken by none that arrives later
    than its own target after it.

    It meets every target while that is possible and collapses past saturation, as any deadline order does: it then
    serves those about to be late, and all are (``hybrid`` prevents that). It ignores tenants.
    """

    name: ClassVar[str] = "slo_aware"

    def key(self, request: PendingRequest, now: float, view: PoolView) -> float:
        return latest_start(request, view)


SLO_AWARE = PolicyType("slo_aware", NoSettings, lambda settings: SloAwareSchedulingPolicy())
