"""Refusal of requests that would come too late: how many late ones a band may hold."""

from __future__ import annotations

from sage_control_plane.policies.bands import Band
from sage_control_plane.prediction.pace import DecayedRate
from sage_control_plane.request.request import PendingRequest, ServiceClass

# What counts as the present rate of dispatches, and for how long an overload lasts after the last refusal.
RATE_SECONDS = 2.0
# Without a dispatch for so long nothing is known of the rate: engines are away rather than too slow.
UNKNOWN_SECONDS = 2.0
# Without a dispatch of a late request for so long, and while so many others were, the fresh leave them no time.
VAIN_SECONDS = 3.0
VAIN_DISPATCHES = 16
# For how long half the rate of dispatches that was seen is surely kept.
SEEN_SECONDS = 0.1
# Tenants whose overload is remembered; beyond it those whose has ended are forgotten.
MOST_TENANTS = 4_096
# Share of the requests that can be begun in time that surely are, whatever their lengths turn out to be.
SURELY = 0.5

# Classes whose requests are refused; vectors and bulk work wait.
REFUSED_CLASSES = (ServiceClass.INTERACTIVE, ServiceClass.DEFAULT)


class Overload:
    """Decides whether one more request would wait longer than its target times ``late_multiple``.

    Requests that can meet their target go before those that are late, so a late one waits for the time that the
    fresh leave. As many may be late as begin within that multiple if all seats are theirs. Under a lasting overload the
    fresh leave no time: once none of the late is dispatched any more, or one has waited in vain, those of a tenant's
    requests that cannot begin in time are refused when they come, until none had to be refused for a while.

    Args:
        late_multiple: of a request's target for its beginning.
    """

    def __init__(self, late_multiple: float) -> None:
        self._multiple = late_multiple
        self._rates = [DecayedRate(RATE_SECONDS) for _ in Band]
        # The rate of each band when it was last asked for, and when that was.
        self._seen = [(0.0, float("-inf"))] * len(Band)
        self._dispatched_at = [float("-inf")] * len(Band)
        # When each band last dispatched a late request, or had none, and how many others it has since.
        self._late_at = [float("-inf")] * len(Band)
        self._since_late = [0] * len(Band)
        # Until when waiting late is known to be in vain.
        self._vain_until: dict[tuple[Band, str], float] = {}

    def dispatched(self, band: Band, now: float, *, late: int | None) -> None:
        """Count a dispatch.

        Args:
            late: late requests that it was put before; None where it was late itself.
        """
        self._rates[band].add(1.0, now)
        self._dispatched_at[band] = now
        if late:
            self._since_late[band] += 1
        else:
            self._late_at[band], self._since_late[band] = now, 0

    def refuses(self, request: PendingRequest) -> bool:
        """Return whether it may come to a refusal of such a request."""
        classification = request.classification
        targeted = classification.begin_target_seconds is not None
        return targeted and classification.service_class in REFUSED_CLASSES and not request.goes_on

    def surely_in_time(self, request: PendingRequest, band: Band, fresh: int, usual_ttft: float, now: float) -> bool:
        """Return True only where ``too_late`` returns False; it costs less, and is enough while the queue is short."""
        target = request.classification.begin_target_seconds
        rate, seen_at = self._seen[band]
        if target is None or not 0.0 <= now - seen_at <= SEEN_SECONDS:
            return False
        # Within that time a rate falls by a fifth at most, where nothing is dispatched.
        return fresh <= 0.5 * SURELY * rate * (target - usual_ttft)

    def too_late(
        self, request: PendingRequest, band: Band, fresh: int, late: int, turnover: float, usual_ttft: float, now: float
    ) -> bool:
        """Return whether a request that arrives now would begin too late.

        Args:
            fresh, late: requests of its band that go before it if it can meet its target, and if it cannot.
            turnover: requests like it that would begin in a second if they had all seats; 0 where that is not known.
            usual_ttft: seconds to its first token once it is dispatched.
        """
        target = request.classification.begin_target_seconds
        if target is None or not turnover or not self._knows(request, band, now):
            return False
        # Where few come there are few dispatches, which says nothing of how many there could be.
        rate = self._rates[band].per_second(now)
        self._seen[band] = (rate, now)
        in_time = max(turnover, rate) * max(0.0, target - usual_ttft)
        return fresh > SURELY * in_time and not self.has_room(request, band, late, turnover, now)

    def has_room(self, request: PendingRequest, band: Band, late: int, turnover: float, now: float) -> bool:
        """Return whether a request that is late may wait after ``late`` others."""
        target = request.classification.begin_target_seconds
        if target is None or not turnover or not self._knows(request, band, now):
            return True
        key = (band, request.tenant)
        until = self._vain_until.get(key)
        vain = self._since_late[band] >= VAIN_DISPATCHES and now - self._late_at[band] >= VAIN_SECONDS
        if (until is None or now >= until) and late < self._multiple * target * turnover and not vain:
            return True
        self._vain(key, now)
        return False

    def waited_in_vain(self, request: PendingRequest, band: Band, now: float) -> None:
        """Note that a late request is refused because it was due."""
        self._vain((band, request.tenant), now)

    def due_at(self, request: PendingRequest) -> float | None:
        """Return when a late request is refused; None for never."""
        target = request.classification.begin_target_seconds
        if target is None or not self.refuses(request):
            return None
        return request.arrived_at + self._multiple * target

    def _knows(self, request: PendingRequest, band: Band, now: float) -> bool:
        return self.refuses(request) and now - self._dispatched_at[band] <= UNKNOWN_SECONDS

    def _vain(self, key: tuple[Band, str], now: float) -> None:
        if len(self._vain_until) >= MOST_TENANTS:
            self._vain_until = {known: end for known, end in self._vain_until.items() if end > now}
        self._vain_until[key] = now + RATE_SECONDS
