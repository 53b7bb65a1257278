"""Partial results on their way to being merged: merged again each time that they have doubled."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

# Merging fewer rows costs more by the call than it saves.
_LEAST_ROWS = 16_384


class PartialFrames:
    """A multiset of partial results as frames of one schema.

    Args:
        merge: makes one row of the rows of each group.
    """

    def __init__(self, merge: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        self._merge = merge
        # Rows up to the last time that all were looked at; they may not have been merged then.
        self._base: pl.DataFrame | None = None
        self._is_merged = True
        self._added: list[pl.DataFrame] = []
        self._added_rows = 0

    @property
    def rows(self) -> int:
        """How many rows are held."""
        return self._added_rows + (self._base.height if self._base is not None else 0)

    def add(self, frame: pl.DataFrame) -> None:
        """Add partial results that arrived behind all others."""
        if frame.height:
            self._added.append(frame)
            self._added_rows += frame.height
            if self._added_rows >= max(self.rows - self._added_rows, _LEAST_ROWS):
                self.merged()

    def all(self) -> pl.DataFrame | None:
        """Return every row, not merged, in the order of arrival; None where nothing was ever added."""
        frames = ([] if self._base is None else [self._base]) + self._added
        if not frames:
            return None
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical")

    def merged(self) -> pl.DataFrame:
        """Return one row for each group. There must have been rows."""
        everything = self.all()
        assert everything is not None
        if self._added or not self._is_merged:
            everything = self._merge(everything)
            self.replace(everything, is_merged=True)
        return everything

    def replace(self, frame: pl.DataFrame | None, *, is_merged: bool) -> None:
        """Hold ``frame`` in place of everything."""
        self._base = frame
        self._is_merged = is_merged
        self._added = []
        self._added_rows = 0
