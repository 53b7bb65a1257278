"""What a grouped state is made of: partial results that can be merged in any grouping of a stream's records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl


class Combiner(Protocol):
    """Turns records into partial results, partial results into fewer, and these into fields (a CombineFn in Beam).

    Everything is a pure function of frames, so partial results may be made in different processes and merged in one.
    """

    def partial(self, records: pl.DataFrame, by: Sequence[str], carry: Sequence[pl.Expr] = ()) -> pl.DataFrame:
        """Return one row for each group: the columns ``by``, the aggregates ``carry``, and the partial results."""
        ...

    def merge(self, partials: pl.DataFrame, by: Sequence[str], carry: Sequence[pl.Expr] = ()) -> pl.DataFrame:
        """Return one row for each group of partial results, in the same form."""
        ...

    def finish(self) -> list[pl.Expr]:
        """Return the expressions over the columns of partial results that make the fields of the result."""
        ...
