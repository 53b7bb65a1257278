"""Settings of the reservation: how far less urgent work may be in the way of more urgent work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from sage_control_plane.policies.bands import Band


@dataclass(frozen=True, slots=True)
class ReservationSettings:
    """How far less urgent work may be in the way of more urgent work.

    Attributes:
        late_per_request: more urgent requests that one request may make late, where it has a near target itself.
        late_per_bulk_request: the same for bulk work.
    """

    late_per_request: Annotated[float, Gt(0)] = 0.5
    late_per_bulk_request: Annotated[float, Gt(0)] = 0.5

    @property
    def prices(self) -> tuple[float, ...]:
        """By band."""
        return tuple(self.late_per_bulk_request if band is Band.BULK else self.late_per_request for band in Band)
