"""Records written in the pipeline itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.connectors.conform import Conformer
from sage_kernel.operator import Position, SourceBatch, Split

BATCH_RECORDS = 256


# JSON kinds that one column holds together.
_KIND = {bool: "bool", int: "number", float: "number", str: "string", list: "list", tuple: "list", dict: "record"}


def frame_of(records: Sequence[dict[str, Any]], conformer: Conformer | None = None) -> pl.DataFrame:
    """Return JSON records as a frame; a field that a record lacks is null there.

    Args:
        conformer: casts them to a stated schema.

    Raises:
        ValueError: a field has values of types that no one type holds, or that are not of the schema.
    """
    kinds: dict[str, str] = {}
    for record in records:
        for name, value in record.items():
            kind = _KIND.get(type(value))
            if kind is not None and kinds.setdefault(name, kind) != kind:
                raise ValueError(f"field {name!r} is a {kinds[name]} in one record and a {kind} in another")
    try:
        frame = pl.DataFrame(records, infer_schema_length=None, strict=True, orient="row")
        return frame if conformer is None else conformer.conform(frame)
    except UnprocessableError as error:
        raise ValueError(error.message) from None
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        raise ValueError(f"the records have no common type: {' '.join(str(error).split())[:300]}") from None


class RecordsSource:
    """Gives records in their order."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    async def splits(self) -> Sequence[Split]:
        """They are one split."""
        return (None,)

    async def count(self) -> int:
        """Return how many there are."""
        return self._frame.height

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield the records from number ``position`` on."""
        first = position if isinstance(position, int) else 0
        for start in range(first, self._frame.height, BATCH_RECORDS):
            piece = self._frame[start : start + BATCH_RECORDS]
            yield SourceBatch(piece, start + piece.height)
