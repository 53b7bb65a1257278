"""What some streams of requests ask of the seats together."""

from __future__ import annotations

from math import exp

from sage_control_plane.prediction.demand import Demand


class OfferedLoad:
    """The load that some streams offer; the means are weighted by it.

    Attributes:
        load: in erlangs.
        rate: requests a second.
    """

    __slots__ = ("_holds", "_patience", "_peaks", "load", "rate")

    def __init__(self) -> None:
        self.load = self.rate = 0.0
        self._holds = self._peaks = self._patience = 0.0

    def add(self, stream: Demand, per_second: float, hold_seconds: float) -> None:
        """Add a stream."""
        offered = per_second * hold_seconds
        self.load += offered
        self.rate += per_second
        self._holds += offered * hold_seconds
        self._peaks += offered * stream.peakedness
        self._patience += offered * stream.patience_seconds

    def __add__(self, other: OfferedLoad) -> OfferedLoad:
        total = OfferedLoad()
        total.load = self.load + other.load
        total.rate = self.rate + other.rate
        total._holds = self._holds + other._holds
        total._peaks = self._peaks + other._peaks
        total._patience = self._patience + other._patience
        return total

    @property
    def hold_seconds(self) -> float:
        """Mean time that a seat is held."""
        return self._holds / self.load

    @property
    def peakedness(self) -> float:
        """Mean peakedness."""
        return self._peaks / self.load

    @property
    def patience_seconds(self) -> float:
        """Mean time that a request can wait for a seat."""
        return self._patience / self.load

    def during(self, seconds: float, held: float) -> float:
        """Return the mean load of the next ``seconds``: the ``held`` seats fade into what is offered as holds end."""
        turns = seconds / self.hold_seconds
        return self.load + (held - self.load) * (1.0 - exp(-turns)) / turns
