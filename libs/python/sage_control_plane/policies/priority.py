"""Class and priority first, with ageing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from sage_common.setting_marks import Alias
from sage_control_plane.policies.policy import PolicyType, PoolView
from sage_control_plane.policies.static_key import StaticKeyPolicy
from sage_control_plane.request.request import PendingRequest, Priority, ServiceClass

CLASS_LEVEL = {
    ServiceClass.INTERACTIVE: 0,
    ServiceClass.EMBEDDING: 1,
    ServiceClass.DEFAULT: 2,
    ServiceClass.BULK: 3,
}
# How far a caller's priority moves a request from the level of its class.
PRIORITY_SHIFT = {
    Priority.CRITICAL: -2,
    Priority.HIGH: -1,
    Priority.NORMAL: 0,
    Priority.LOW: 1,
    Priority.BACKGROUND: 2,
}
LEVELS = max(CLASS_LEVEL.values()) + max(PRIORITY_SHIFT.values()) - min(PRIORITY_SHIFT.values())


@dataclass(frozen=True, slots=True)
class PrioritySettings:
    """Settings of the priority policy.

    Attributes:
        ageing_seconds: wait after which a queued request counts as one level more urgent.
    """

    ageing_seconds: Annotated[float, Gt(0), Alias()] = 5.0


class PrioritySchedulingPolicy(StaticKeyPolicy):
    """The most urgent level first, then arrival; all requests become more urgent at the same rate.

    A request gains one level for each ``ageing_seconds`` that it waits. Since all gain alike, the order of two requests
    never changes and ``arrival + level * ageing_seconds`` is a static key.

    Bound: a request is overtaken only by requests that arrive less than ``ageing_seconds`` after it for each level
    that they are ahead, so by none that arrive more than ``LEVELS * ageing_seconds`` after it.

    It trades targets for simplicity: it ignores deadlines, and one tenant can fill a level.
    """

    name: ClassVar[str] = "priority"

    def __init__(self, ageing_seconds: float = 5.0) -> None:
        super().__init__()
        self._ageing_seconds = ageing_seconds

    def key(self, request: PendingRequest, now: float, view: PoolView) -> float:
        classification = request.classification
        level = CLASS_LEVEL[classification.service_class] + PRIORITY_SHIFT[classification.priority]
        return request.arrived_at + level * self._ageing_seconds


PRIORITY = PolicyType("priority", PrioritySettings, lambda settings: PrioritySchedulingPolicy(settings.ageing_seconds))
