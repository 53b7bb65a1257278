"""Refusal of requests that would come too late: how many late ones a band may hold."""

from __future__ import annotations

from sage_control_plane.policies.bands import Band
from sage_control_plane.prediction.pace import DecayedRate
from sage_control_plane.request.request import PendingRequest, ServiceClass

# What counts as the present rate of dispatches, and of dispatches of late requests.
RATE_SECONDS = 2.0
LATE_RATE_SECONDS = 10.0
# Without a dispatch for so long nothing is known of the rate: engines are away rather than too slow.
UNKNOWN_SECONDS = 2.0
# Late requests that a band may always hold: as many as this share of the seats, and at least so many.
SHARE_OF_SEATS = 0.25
LEAST_LATE = 8
# Share of the requests that can be begun in time that surely are, whatever their lengths turn out to be.
SURELY = 0.3

# Classes whose requests are refused; vectors and bulk work wait.
REFUSED_CLASSES = (ServiceClass.INTERACTIVE, ServiceClass.DEFAULT)


class Overload:
    """Decides by band whether one more request would wait longer than its target times ``late_multiple``.

    Requests that can meet their target go before those that are late, so a late one waits for the time that the
    fresh leave. Under a lasting overload they leave none: what cannot begin in time would then never begin, and is
    refused when it comes.

    Args:
        late_multiple: of a request's target for its beginning.
    """

    def __init__(self, late_multiple: float) -> None:
        self._multiple = late_multiple
        self._fresh = [DecayedRate(RATE_SECONDS) for _ in Band]
        self._late = [DecayedRate(LATE_RATE_SECONDS) for _ in Band]
        self._dispatched_at = [float("-inf")] * len(Band)
        # Until when it is known that waiting late is in vain: an overload lasts until none was refused for a while.
        self._hopeless_until = [float("-inf")] * len(Band)

    def dispatched(self, band: Band, now: float, *, late: bool) -> None:
        """Count a dispatch."""
        (self._late if late else self._fresh)[band].add(1.0, now)
        self._dispatched_at[band] = now

    def too_late(
        self, request: PendingRequest, band: Band, fresh: int, late: int, seats: int, usual_ttft: float, now: float
    ) -> bool:
        """Return whether a request that arrives now would begin too late.

        Args:
            fresh, late: requests of its band that are queued and can meet their target, and that cannot.
            seats: requests that run at once.
            usual_ttft: seconds to its first token once it is dispatched.
        """
        target = request.classification.begin_target_seconds
        if not self._known(request, band, now) or target is None:
            return False
        rate = self._fresh[band].per_second(now) + self._late[band].per_second(now)
        in_time = rate * max(0.0, target - usual_ttft)
        if fresh <= SURELY * in_time:
            return False
        return self._refused(band, late >= self._room(band, target, seats, now), now)

    def has_room(self, request: PendingRequest, band: Band, late: int, seats: int, now: float) -> bool:
        """Return whether a request that has become late may wait with ``late`` others."""
        target = request.classification.begin_target_seconds
        if not self._known(request, band, now) or target is None:
            return True
        return not self._refused(band, late >= self._room(band, target, seats, now), now)

    def _refused(self, band: Band, refused: bool, now: float) -> bool:
        if refused:
            self._hopeless_until[band] = max(self._hopeless_until[band], now + RATE_SECONDS)
        return refused

    def waited_in_vain(self, request: PendingRequest, band: Band, now: float) -> None:
        """Note that a late request is refused because it was due."""
        target = request.classification.begin_target_seconds or 0.0
        self._hopeless_until[band] = now + self._multiple * target

    def due_at(self, request: PendingRequest) -> float | None:
        """Return when a late request is refused; None for never."""
        target = request.classification.begin_target_seconds
        if request.classification.service_class not in REFUSED_CLASSES or request.goes_on or target is None:
            return None
        return request.arrived_at + self._multiple * target

    def _known(self, request: PendingRequest, band: Band, now: float) -> bool:
        refused = request.classification.service_class in REFUSED_CLASSES and not request.goes_on
        return refused and now - self._dispatched_at[band] <= UNKNOWN_SECONDS

    def _room(self, band: Band, target: float, seats: int, now: float) -> float:
        if now < self._hopeless_until[band]:
            return 0.0
        return max(LEAST_LATE, SHARE_OF_SEATS * seats) + self._multiple * target * self._late[band].per_second(now)
