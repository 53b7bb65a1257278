"""Records written in the pipeline itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import polars as pl

from sage_kernel.operator import Position, SourceBatch, Split

BATCH_RECORDS = 256


def frame_of(records: Sequence[dict[str, Any]], schema: dict[str, pl.DataType] | None = None) -> pl.DataFrame:
    """Return JSON records as a frame; a field that a record lacks is null there.

    Raises:
        ValueError: a field has values of types that no one type holds.
    """
    try:
        return pl.DataFrame(records, schema=schema, infer_schema_length=None, strict=True, orient="row")
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        raise ValueError(f"the records have no common type: {' '.join(str(error).split())[:300]}") from None


class RecordsSource:
    """Gives records in their order."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    async def splits(self) -> Sequence[Split]:
        """They are one split."""
        return (None,)

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield the records from number ``position`` on."""
        first = position if isinstance(position, int) else 0
        for start in range(first, self._frame.height, BATCH_RECORDS):
            piece = self._frame[start : start + BATCH_RECORDS]
            yield SourceBatch(piece, start + piece.height)
