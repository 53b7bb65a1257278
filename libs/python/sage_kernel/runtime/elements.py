"""What travels along an edge of a running pipeline: batches of records, and marks between them."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import polars as pl

# Later than every event time: the watermark of a stream that has ended.
END_OF_TIME_US = 2**62
START_OF_TIME_US = -(2**62)


class Watermark(NamedTuple):
    """No record before ``time_us`` (microseconds since 1970-01-01 UTC) is expected any more.

    ``is_idle`` says that its sender is silent for now, and that its watermark holds nobody back until it sends again.
    """

    time_us: int
    is_idle: bool = False


class Barrier(NamedTuple):
    """Everything before it belongs to the checkpoint of this number, nothing behind it does (Chandy, Lamport 1985)."""

    checkpoint: int


class End(NamedTuple):
    """Nothing follows."""


END = End()
Element: TypeAlias = "pl.DataFrame | Watermark | Barrier | End"


def have_same_fields(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Return whether two batches have the same fields in the same order, so that they can be one.

    Without ``DataFrame.schema``: to make and compare two takes as long as the rest of what a queue does for a record.
    """
    return one.columns == other.columns and one.dtypes == other.dtypes
