"""What policies see of a pool."""

from __future__ import annotations

from sage_control_plane.admission import Admission
from sage_control_plane.requests import PendingRequest
from sage_control_plane.roster import Roster

# So many free engines are asked for the soonest start: enough to find a good one, and a constant.
ASKED = 16


class RosterView:
    """The roster as a ``PoolView``."""

    def __init__(self, roster: Roster, admission: Admission) -> None:
        self._roster = roster
        self._admission = admission
        self.now = 0.0

    @property
    def saturation(self) -> float:
        return self._roster.saturation

    def predicted_ttft_seconds(self, request: PendingRequest) -> float | None:
        return self._roster.usual_ttft_seconds(request)

    def soonest_ttft_seconds(self, request: PendingRequest) -> float | None:
        classification = request.classification
        soonest: float | None = None
        for book in self._roster.route(classification.route).free.engines[:ASKED]:
            uncached = self._roster.uncached_tokens(book, request)
            seconds = book.forecast.ttft_seconds(classification.generates, uncached)
            if seconds is not None and (soonest is None or seconds < soonest):
                soonest = seconds
        return soonest

    def wait_seconds(self) -> float | None:
        return self._admission.wait_seconds(self.now)
