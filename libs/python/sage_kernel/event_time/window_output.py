"""How windows are given out: a field ``window`` with start and end, in an order that does not depend on chance."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sage_kernel.event_time.event_times import WINDOW
from sage_kernel.schema import TIMESTAMP

WINDOW_TYPE = pl.Struct({"start": TIMESTAMP, "end": TIMESTAMP})


def window_field(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """Return the field of a window from its limits in microseconds."""
    return pl.struct(start.cast(TIMESTAMP).alias("start"), end.cast(TIMESTAMP).alias("end")).alias(WINDOW)


def in_order(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return the rows sorted, so that a run that is repeated gives out the same."""
    return frame.sort(columns, nulls_last=False)
