"""The load that the requests of the last moments offer to a group's seats, as far as it is sure."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from sage_control_plane.prediction.demand import MOMENT_SECONDS, RECENT_SECONDS, Demand

# In each of so many spans in a row as many have to come.
SPANS = 3
# Standard errors by which the rate of the last moments may be above that of the requests to come.
DEVIATIONS = 2.0
# Seats that were there so lately may be there again soon: their engine is being restarted, or is found again.
LOST_SECONDS = 10.0
# How long a computed load holds; bounds cost.
FRESH_SECONDS = 0.02


class PresentLoad:
    """Offered load to seats, by band: 1 is what they can do.

    It tells an overload from a failure: who waits because an engine is away waits for seats that are counted here, and
    who was held up on his way counts at the moment in which he was sent.
    """

    __slots__ = ("_at", "_loads", "_most", "_most_at")

    def __init__(self) -> None:
        self._most = 0
        self._most_at = float("-inf")
        self._at = float("-inf")
        self._loads: list[tuple[float, float]] = []

    def note_seats(self, seats: int, now: float) -> None:
        """Note how many seats there are; call it with each arrival."""
        if seats >= self._most or now - self._most_at > LOST_SECONDS:
            self._most, self._most_at = seats, now

    def take_over(self, other: PresentLoad) -> None:
        """Remember the seats of a group to which some of the engines belonged before."""
        if other._most > self._most:
            self._most, self._most_at = other._most, other._most_at

    def up_to(
        self, demands: Sequence[Sequence[Demand]], seconds_per_token: float, now: float
    ) -> Sequence[tuple[float, float]]:
        """Return the load to the seats that each band offers together with those before it: surely, and as expected.

        Args:
            demands: the streams of requests, by band.
            seconds_per_token: expected time between tokens while all seats are taken.
        """
        if 0.0 <= now - self._at < FRESH_SECONDS:
            return self._loads
        moment, recent = _Estimate(SPANS * MOMENT_SECONDS), _Estimate(SPANS * RECENT_SECONDS)
        self._loads = []
        for streams in demands:
            for stream in streams:
                hold = stream.hold_seconds(now, seconds_per_token)
                if stream.is_known:
                    of_moment, lately = stream.last_per_second(now)
                    moment.add(of_moment, hold, stream.peakedness)
                    recent.add(lately, hold, stream.peakedness)
            # Few requests that hold their seats for long say within seconds what many say within a moment.
            seats = max(1, self._most)
            self._loads.append((max(moment.surely, recent.surely) / seats, max(moment.load, recent.load) / seats))
        self._at = now
        return self._loads


class _Estimate:
    """A load in erlangs by the arrivals of some time."""

    __slots__ = ("_seconds", "_variance", "load")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._variance = 0.0
        self.load = 0.0

    def add(self, per_second: float, hold_seconds: float, peakedness: float) -> None:
        """Add a stream."""
        self.load += per_second * hold_seconds
        self._variance += peakedness * per_second * hold_seconds * hold_seconds / self._seconds

    @property
    def surely(self) -> float:
        """What it is at least, chance allowed for."""
        return max(0.0, self.load - DEVIATIONS * sqrt(self._variance))
