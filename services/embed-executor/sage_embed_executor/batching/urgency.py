"""How soon a request's vectors are wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sage_control_plane.request.request import Classification, ServiceClass


@dataclass(frozen=True, slots=True)
class Urgency:
    """What orders a request among those in the executor.

    Attributes:
        deadline: when it is to be complete, in seconds of the executor's clock; infinite for no target.
        bulk: whether it may wait for everything that is not.
    """

    deadline: float = math.inf
    bulk: bool = False


def urgency_of(classification: Classification | None, waited_seconds: float, now: float) -> Urgency:
    """Read the urgency of a request that the mesh accepted ``waited_seconds`` ago."""
    if classification is None:
        return Urgency()
    if classification.service_class is ServiceClass.BULK:
        # Its far deadline says no more than that.
        return Urgency(bulk=True)
    target = classification.begin_target_seconds
    return Urgency(math.inf if target is None else now - waited_seconds + target)
