"""Frames as Ray carries them: Arrow tables, without copies where the types allow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa


def to_table(frame: pl.DataFrame) -> pa.Table:
    """Return a frame as a table of types that every Arrow library knows."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def to_frame(table: pa.Table, fields: Mapping[str, pl.DataType] | None = None) -> pl.DataFrame:
    """Return a table as a frame; one without rows may have lost its columns, and gets those of ``fields``."""
    if table.num_rows == 0:
        return pl.DataFrame(schema=dict(fields or {}))
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def concatenated(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all frames that have any."""
    filled = [frame for frame in frames if frame.height]
    return pl.concat(filled, how="vertical_relaxed") if filled else pl.DataFrame()
