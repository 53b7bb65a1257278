"""The best pairs of each left record, until no better one can come."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

# Pairs are dropped when there are twice as many as were left the last time, and at least so many.
_LEAST_PRUNED = 4096


class BestPairs:
    """Pairs that wait, at most about twice the best of each left record.

    Args:
        most: pairs of a left record.
        left: column that identifies it.
        time: column with its event time, in microseconds.
        order: columns with similarity and time of the right record: the greater, then the earlier is better.
    """

    def __init__(self, most: int, left: str, time: str, order: tuple[str, str]) -> None:
        self._most = most
        self._left = left
        self._time = time
        self._order = order
        self._frames: list[pl.DataFrame] = []
        self._pruned_rows = 0

    def add(self, pairs: pl.DataFrame) -> None:
        """Add pairs."""
        self._frames.append(pairs)
        if self._rows() > max(_LEAST_PRUNED, 2 * self._pruned_rows):
            self._prune()

    def before(self, time_us: int) -> pl.DataFrame | None:
        """Take out and return the best pairs of left records before this time; None where there is none."""
        if not any((frame.get_column(self._time) < time_us).any() for frame in self._frames):
            return None
        self._prune()
        (pairs,) = self._frames
        is_done = pairs.get_column(self._time) < time_us
        rest = pairs.filter(~is_done)
        self._frames = [rest] if rest.height else []
        self._pruned_rows = rest.height
        return pairs.filter(is_done)

    def frames(self) -> Sequence[pl.DataFrame]:
        """Return the pairs that wait."""
        return list(self._frames)

    def _rows(self) -> int:
        return sum(frame.height for frame in self._frames)

    def _prune(self) -> None:
        similarity, time = self._order
        # Stable, so that of equals the one that came first is kept.
        pairs = pl.concat(self._frames).sort(
            self._left, similarity, time, descending=[False, True, False], maintain_order=True
        )
        kept = pairs.filter(pl.int_range(pl.len()).over(self._left) < self._most)
        self._frames, self._pruned_rows = [kept], kept.height
