"""Grouping a bounded stream split by split: partial results where the splits are, merged in one place.

Every record is there before the first result is given out, so none is late, whatever the order of the splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from sage_kernel.operator import Emission, State, StatefulOperator


class Grouping(StatefulOperator, Protocol):
    """A grouping operator whose state is one frame of partial results."""

    def partials(self) -> pl.DataFrame | None:
        """Return the partial results; None where there have been no records."""
        ...

    def absorb(self, partials: pl.DataFrame) -> None:
        """Take the partial results of another operator of the same kind."""
        ...


class PartialGrouping:
    """The grouping of one split: gives out its partial results at the end, and nothing before."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Group records."""
        return self._grouping.on_batch(frame, input_index)

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Wait for the end: other splits may have records of the same windows."""
        return ()

    def on_end(self) -> Sequence[Emission]:
        """Give out the partial results."""
        partials = self._grouping.partials()
        return () if partials is None else (Emission(partials),)

    def snapshot(self) -> State:
        """Return the state of the grouping."""
        return self._grouping.snapshot()

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._grouping.restore(state)


class MergedGrouping:
    """Takes the partial results of every split, and gives out what one grouping over all of them does."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Take partial results."""
        self._grouping.absorb(frame)
        return ()

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Wait for every split."""
        return ()

    def on_end(self) -> Sequence[Emission]:
        """Give out every group."""
        return self._grouping.on_end()

    def snapshot(self) -> State:
        """Return the state of the grouping."""
        return self._grouping.snapshot()

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._grouping.restore(state)
