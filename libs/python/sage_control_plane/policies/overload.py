"""Refusal of requests that would come too late: how many late ones a band may hold."""

from __future__ import annotations

from collections.abc import Set
from math import sqrt

from sage_common.value_type import value_type
from sage_control_plane.policies.bands import Band
from sage_control_plane.prediction.pace import DecayedRate
from sage_control_plane.request.request import PendingRequest, Route, ServiceClass

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
# Load, 1 being what the seats can do, from which on late requests need not wait to learn that it is in vain.
OVER = 2.0
# By how many standard deviations of their number fewer may then stand before a request than begin in time.
CHANCE = 3.0
# Share of the seats that nobody holds, for which prompts are computed in time.
FILLED = 0.5

# Classes whose requests are refused; vectors and bulk work wait.
REFUSED_CLASSES = (ServiceClass.INTERACTIVE, ServiceClass.DEFAULT)


@value_type
class Seats:
    """The seats that a request wants, as they are now.

    Attributes:
        routes: of the requests that want the same ones, its own with them.
        turnover: requests like it that would begin in a second if they had all of them; 0 where that is not known.
        before: the load to them, 1 being what they can do, that more urgent bands surely offer at this moment.
        with_own: that these bands and its own surely offer.
        expected: that they offer as the last moment has it.
        free: seats that nobody holds.
    """

    routes: Set[Route]
    turnover: float
    before: float = 0.0
    with_own: float = 0.0
    expected: float = 0.0
    free: int = 0

    @property
    def are_overloaded(self) -> bool:
        """Whether so much more is offered than can be done that late requests need not wait to learn it."""
        return self.with_own >= 1.0 and self.expected >= OVER


@value_type
class Ahead:
    """Requests of a band that stand before one of a tenant, if the tenants' turns come equally often.

    Attributes:
        own: of its tenant, that can meet their target.
        fresh: that go before it if it can meet its target.
        late: that go before it if it cannot.
        all_late: late ones of all tenants.
    """

    own: int
    fresh: int
    late: int
    all_late: int


class _Begun:
    """What has begun of one route's requests in one band.

    Attributes:
        at: when the last one did.
        late_at: when the last late one did, or one when none was late.
        since_late: others since then.
    """

    __slots__ = ("at", "late_at", "rate", "since_late")

    def __init__(self) -> None:
        self.rate = DecayedRate(RATE_SECONDS)
        self.at = self.late_at = float("-inf")
        self.since_late = 0


class Overload:
    """Decides whether one more request would wait longer than its target times ``late_multiple``.

    Requests that can meet their target go before those that are late, so a late one waits for the time that the
    fresh leave. As many may be late as begin within that multiple if all seats are theirs. Where far more is offered
    than the seats can do, the fresh leave no time, and who cannot begin in time is refused on arrival. So is a tenant's
    request once none of the late is dispatched any more, or one has waited in vain, until none had to be refused for a
    while; then those that become late are refused too, but for those that were admitted before.

    Only requests for the same seats count: an overload of one model refuses nobody who wants another's engines.

    Args:
        late_multiple: of a request's target for its beginning.
    """

    def __init__(self, late_multiple: float) -> None:
        self._multiple = late_multiple
        self._begun: dict[Route, list[_Begun]] = {}
        # The rate of each band when it was last asked for, 0 under an overload, and when that was.
        self._seen: dict[tuple[Route, Band], tuple[float, float]] = {}
        # Until when waiting late is known to be in vain.
        self._vain_until: dict[tuple[Route, Band, str], float] = {}

    def dispatched(self, route: Route, band: Band, now: float, *, late: int | None) -> None:
        """Count a dispatch.

        Args:
            late: late requests that it was put before; None where it was late itself.
        """
        bands = self._begun.get(route)
        if bands is None:
            bands = self._begun[route] = [_Begun() for _ in Band]
        begun = bands[band]
        begun.rate.add(1.0, now)
        begun.at = now
        if late:
            begun.since_late += 1
        else:
            begun.late_at, begun.since_late = now, 0

    def refuses(self, request: PendingRequest) -> bool:
        """Return whether it may come to a refusal of such a request."""
        classification = request.classification
        targeted = classification.begin_target_seconds is not None
        return targeted and classification.service_class in REFUSED_CLASSES and not request.goes_on

    def surely_in_time(self, request: PendingRequest, band: Band, fresh: int, usual_ttft: float, now: float) -> bool:
        """Return True only where ``too_late`` returns False; it costs less, and is enough while the queue is short."""
        target = request.classification.begin_target_seconds
        rate, seen_at = self._seen.get((request.classification.route, band), (0.0, float("-inf")))
        if target is None or not 0.0 <= now - seen_at <= SEEN_SECONDS:
            return False
        # Within that time a rate falls by a fifth at most, where nothing is dispatched.
        return max(1, fresh) <= 0.5 * SURELY * rate * (target - usual_ttft)

    def too_late(
        self, request: PendingRequest, band: Band, ahead: Ahead, seats: Seats, usual_ttft: float, now: float
    ) -> bool:
        """Return whether a request that arrives now would begin too late.

        Args:
            usual_ttft: seconds to its first token once it is dispatched.
        """
        target = request.classification.begin_target_seconds
        if target is None or not self._knows(request, seats, now):
            return False
        # Where few come there are few dispatches, which says nothing of how many there could be.
        rate = sum([begun.rate.per_second(now) for begun in self._of(seats, band)])
        self._seen[request.classification.route, band] = (0.0 if seats.are_overloaded else rate, now)
        left = seats.turnover * max(0.0, 1.0 - seats.before)
        in_time = max(left, rate) * max(0.0, target - usual_ttft)
        surely = SURELY * in_time
        if seats.are_overloaded:
            if seats.before >= 1.0 and ahead.fresh + ahead.all_late:
                return True
            # More come than begin: no seat waits for long, and few before it are enough, but not none.
            enough = max(1.0, in_time - CHANCE * sqrt(in_time))
            if ahead.fresh > min(surely, enough) + FILLED * seats.free:
                return True
        return ahead.own > 0 and ahead.fresh > surely and not self.has_room(request, band, ahead, seats, now)

    def has_room(self, request: PendingRequest, band: Band, ahead: Ahead, seats: Seats, now: float) -> bool:
        """Return whether a request that is late may wait after the others that are."""
        target = request.classification.begin_target_seconds
        if target is None or request.was_admitted or not self._knows(request, seats, now):
            return True
        key = (request.classification.route, band, request.tenant)
        until = self._vain_until.get(key)
        if (
            (until is None or now >= until)
            and (not seats.turnover or ahead.late < self._multiple * target * seats.turnover)
            and not self._is_vain(seats, band, now)
        ):
            return True
        self._vain(key, now)
        return False

    def waited_in_vain(self, request: PendingRequest, band: Band, now: float) -> None:
        """Note that a late request is refused because it was due."""
        self._vain((request.classification.route, band, request.tenant), now)

    def due_at(self, request: PendingRequest) -> float | None:
        """Return when a late request is refused; None for never."""
        target = request.classification.begin_target_seconds
        if target is None or not self.refuses(request):
            return None
        return request.arrived_at + self._multiple * target

    def _of(self, seats: Seats, band: Band) -> list[_Begun]:
        return [bands[band] for route in seats.routes if (bands := self._begun.get(route)) is not None]

    def _is_vain(self, seats: Seats, band: Band, now: float) -> bool:
        """Return whether none of the late is dispatched any more."""
        begun = self._of(seats, band)
        late_at = max([one.late_at for one in begun], default=now)
        return now - late_at >= VAIN_SECONDS and sum([one.since_late for one in begun]) >= VAIN_DISPATCHES

    def _knows(self, request: PendingRequest, seats: Seats, now: float) -> bool:
        if not self.refuses(request) or not (seats.turnover or seats.before >= 1.0):
            return False
        # Less urgent requests may be dispatched no more while the engines are busy with others.
        begun = [one.at for route in seats.routes for one in self._begun.get(route, ())]
        return now - max(begun, default=float("-inf")) <= UNKNOWN_SECONDS

    def _vain(self, key: tuple[Route, Band, str], now: float) -> None:
        if len(self._vain_until) >= MOST_TENANTS:
            self._vain_until = {known: end for known, end in self._vain_until.items() if end > now}
        self._vain_until[key] = now + RATE_SECONDS
