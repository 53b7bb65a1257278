"""The view of a pool that policies have."""

from __future__ import annotations

from sage_control_plane.policies.admission import Admission
from sage_control_plane.policies.bands import Band
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.pool.reservation import Reservation
from sage_control_plane.request.request import PendingRequest, Route

# Free engines that are checked for one that can begin in time: a constant, and enough to find one.
ASKED = 16
# One in this many requests predicted to be late is tried anyway: a prediction that keeps work away is never tested, so
# a wrong one would stay wrong.
TRIED_ANYWAY = 10


class EnginePoolView:
    """The engines as a ``PoolView``."""

    def __init__(
        self, engines: EnginePool, learning: PoolLearning, admission: Admission, reservation: Reservation
    ) -> None:
        self._reservation = reservation
        self._engines = engines
        self._learning = learning
        self._admission = admission
        self._doubts = 0
        self.now = 0.0

    @property
    def saturation(self) -> float:
        return self._engines.load.value

    @property
    def engines(self) -> int:
        return self._engines.load.usable

    def turnover(self, request: PendingRequest) -> float:
        return self._reservation.turnover(request, self.now)

    def predicted_ttft_seconds(self, request: PendingRequest) -> float | None:
        return self._learning.usual_ttft_seconds(request)

    def can_begin_within(self, request: PendingRequest, seconds: float) -> bool:
        classification = request.classification
        generates = classification.generates
        free = self._engines.route(classification.route).free.engines
        for entry in free[:ASKED]:
            ttft = entry.forecast.ttft_seconds(generates, self._engines.uncached_tokens(entry, request))
            if ttft is None or ttft <= seconds:
                return True
        if not free:
            return True
        self._doubts += 1
        return self._doubts % TRIED_ANYWAY == 0

    def has_room(self, route: Route, band: Band, *, late: bool = False) -> bool:
        return self._reservation.has_room(route, band, self.now, late=late)

    def holds_seat(self, route: Route, band: Band) -> bool:
        return self._reservation.holds_seat(route, band)

    def wait_seconds(self) -> float | None:
        return self._admission.wait_seconds(self.now)
