"""Settings of the hybrid policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from sage_common.setting_marks import Alias


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """Settings of bands, flows and feasibility.

    Attributes:
        starvation_seconds: a band that has waited this long for a dispatch, and holds no seat, gets one, whatever is
            kept for others.
        lead_seconds: seconds of the whole pool's work by which a tenant may be ahead of another before that one's less
            urgent requests go first.
        bulk_lead_seconds: the same, before that one's bulk work goes first.
        credit_seconds: seconds of the whole pool's work by which a tenant that sends something after a pause may be
            behind the others; what it does not use in longer pauses is lost.
        late_multiple: of its target, that a chat or completion may wait; it is refused where it would be longer.
        margin: share of a target that is kept in reserve when a request is judged feasible.
        weights: shares of the tenants; 1 for those not named.
    """

    starvation_seconds: Annotated[float, Gt(0), Alias()] = 10.0
    lead_seconds: Annotated[float, Ge(0)] = 0.5
    bulk_lead_seconds: Annotated[float, Ge(0)] = 5.0
    credit_seconds: Annotated[float, Ge(0)] = 0.5
    late_multiple: Annotated[float, Ge(1)] = 60.0
    margin: Annotated[float, Ge(0), Lt(1)] = 0.05
    weights: Annotated[Mapping[str, float], Alias("tenant_weights")] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for a figure out of range."""
        if self.starvation_seconds <= 0:
            raise ValueError(f"starvation_seconds is {self.starvation_seconds}; it must be above 0")
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin is {self.margin}; it must be in [0, 1)")
        for tenant, weight in self.weights.items():
            if weight <= 0:
                raise ValueError(f"the weight of tenant {tenant!r} is {weight}; it must be above 0")
