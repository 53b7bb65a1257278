"""Inequalities that every schedule obeys: no interval has more work than time, no moment more sequences than seats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from sage_benchmark.bound.demand import Flags, Floats, Indices, Pieces, Residence

# Ends of intervals that are looked at, of each kind; other intervals are left out, which only raises the bound.
MOST_ENDS = 500
# Inequalities of a kind that are added at a time.
MOST_ADDED = 40
# What rounding may hide: relative to an interval, and in seconds.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-9


class Inequality(NamedTuple):
    """``sum coefficients[i] * x[i] <= limit``, with x[i] the share of request i that is served within its targets."""

    coefficients: Floats
    limit: float


class Inequalities(Protocol):
    """A kind of inequalities."""

    def violated(self, share: Floats) -> Iterator[Inequality]:
        """Yield some of those that the shares violate; none when they violate none that is looked at."""
        ...


@dataclass(frozen=True, slots=True)
class WorkInIntervals:
    """Pieces that lie in an interval altogether take at most the engines' time in it."""

    pieces: Pieces
    engines: int
    requests: int
    starts: Floats
    ends: Floats
    start_of: Indices
    end_of: Indices

    @staticmethod
    def of(pieces: Pieces, engines: int, requests: int) -> WorkInIntervals:
        """Look at intervals from a release to a due time.

        Args:
            requests: how many there are altogether.
        """
        starts, ends = _spread(pieces.release), _spread(pieces.due)
        start_of = np.searchsorted(starts, pieces.release, side="right") - 1
        end_of = np.searchsorted(ends, pieces.due, side="left")
        return WorkInIntervals(pieces, engines, requests, starts, ends, start_of, end_of)

    def violated(self, share: Floats) -> Iterator[Inequality]:
        """Yield the most violated ones, each with an end of its own."""
        demand = np.zeros((len(self.starts), len(self.ends)))
        np.add.at(demand, (self.start_of, self.end_of), self.pieces.work * share[self.pieces.request])
        demand = np.cumsum(np.cumsum(demand[::-1], axis=0)[::-1], axis=1)
        # An interval that ends before it begins holds nothing.
        length = np.maximum(0.0, self.ends[None, :] - self.starts[:, None])
        excess = demand - self._limit(length)
        worst = np.argmax(excess, axis=1)
        most = excess[np.arange(len(self.starts)), worst]
        taken: set[int] = set()
        for row in np.argsort(-most):
            if most[row] <= 0 or len(taken) >= MOST_ADDED:
                return
            if int(worst[row]) not in taken:
                taken.add(int(worst[row]))
                yield self._inequality(float(self.starts[row]), float(self.ends[worst[row]]))

    def _inequality(self, start: float, end: float) -> Inequality:
        pieces = self.pieces
        inside = (pieces.release >= start) & (pieces.due <= end)
        coefficients = np.bincount(pieces.request[inside], pieces.work[inside], self.requests).astype(np.float64)
        return Inequality(coefficients, float(self._limit(np.array(end - start))))

    def _limit(self, length: Floats) -> Floats:
        return self.engines * length * (1 + _RELATIVE) + _ABSOLUTE


@dataclass(frozen=True, slots=True)
class SeatsAtMoments:
    """At no moment more requests hold a seat for certain than there are seats.

    Attributes:
        counted: the requests that are served at all.
    """

    residence: Residence
    counted: Flags
    seats: int

    def violated(self, share: Floats) -> Iterator[Inequality]:
        """Yield the most violated ones."""
        latest, earliest = self.residence.latest_start + _ABSOLUTE, self.residence.earliest_end - _ABSOLUTE
        certain = np.flatnonzero(self.counted & (latest < earliest))
        if not len(certain):
            return
        begun = certain[np.argsort(latest[certain], kind="stable")]
        ended = certain[np.argsort(earliest[certain], kind="stable")]
        starts = latest[begun]
        # A request holds its seat just after its latest start; it holds none from its earliest end on.
        gone = np.searchsorted(earliest[ended], starts, side="right")
        holding = np.cumsum(share[begun]) - np.concatenate([[0.0], np.cumsum(share[ended])])[gone]
        for position in np.argsort(-holding)[:MOST_ADDED]:
            if holding[position] <= self.seats + _RELATIVE:
                return
            moment = float(starts[position])
            inside = self.counted & (latest <= moment) & (earliest > moment)
            yield Inequality(inside.astype(np.float64), float(self.seats))


def _spread(times: Floats) -> Floats:
    """Return distinct times, at most ``MOST_ENDS`` of them, evenly chosen, the first and the last among them."""
    distinct = np.unique(times)
    if len(distinct) <= MOST_ENDS:
        return distinct
    return distinct[np.unique(np.linspace(0, len(distinct) - 1, MOST_ENDS).astype(np.int64))]
