"""What policies see of a pool."""

from __future__ import annotations

from sage_control_plane.admission import Admission
from sage_control_plane.requests import PendingRequest
from sage_control_plane.roster import Roster

# So many free engines are asked whether one can begin in time: enough to find one, and a constant.
ASKED = 16
# One in so many requests that look late is tried anyway: a prediction that keeps work away is not put to the test, and
# one that was wrong would stay so.
TRIED_ANYWAY = 10


class RosterView:
    """The roster as a ``PoolView``."""

    def __init__(self, roster: Roster, admission: Admission) -> None:
        self._roster = roster
        self._admission = admission
        self._doubts = 0
        self.now = 0.0

    @property
    def saturation(self) -> float:
        return self._roster.saturation

    @property
    def engines(self) -> int:
        return self._roster.usable

    def predicted_ttft_seconds(self, request: PendingRequest) -> float | None:
        return self._roster.usual_ttft_seconds(request)

    def can_begin_within(self, request: PendingRequest, seconds: float) -> bool:
        classification = request.classification
        generates = classification.generates
        free = self._roster.route(classification.route).free.engines
        for book in free[:ASKED]:
            ttft = book.forecast.ttft_seconds(generates, self._roster.uncached_tokens(book, request))
            if ttft is None or ttft <= seconds:
                return True
        if not free:
            return True
        self._doubts += 1
        return self._doubts % TRIED_ANYWAY == 0

    def wait_seconds(self) -> float | None:
        return self._admission.wait_seconds(self.now)
