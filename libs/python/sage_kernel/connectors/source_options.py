"""What a source node states of its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from sage_kernel.connectors.conform import Conformer, Extra
from sage_kernel.connectors.timestamps import EpochUnit
from sage_kernel.schema import TIMESTAMP

DEFAULT_RECORD_BYTES = 512 * 1024


@dataclass(frozen=True)
class SourceOptions:
    """How records are read.

    Attributes:
        schema: their fields; None reads them off the first records.
        event_time: the field that becomes a timestamp whatever it looks like.
        epoch: the unit of timestamps that are numbers.
        extra: what becomes of a field that the schema lacks.
        max_record_bytes: a longer record is refused.
        max_files: a pattern that matches more is an error.
        delimiter: between two values of CSV.
    """

    schema: Mapping[str, pl.DataType] | None = None
    event_time: str | None = None
    epoch: EpochUnit | None = None
    extra: Extra = "drop"
    max_record_bytes: int = DEFAULT_RECORD_BYTES
    max_files: int = 10_000
    delimiter: str = ","

    def conformer(self, fields: Mapping[str, pl.DataType]) -> Conformer:
        """Return what makes records fit ``fields``."""
        return Conformer(fields, self.epoch, self.extra, self.max_record_bytes)

    def inferred(self, fields: Mapping[str, pl.DataType]) -> Mapping[str, pl.DataType]:
        """Return inferred fields as types that pipelines know, with the event time as a timestamp."""
        known = {name: _known(dtype) for name, dtype in fields.items()}
        if self.event_time is not None:
            known[self.event_time] = TIMESTAMP
        return known


def _known(dtype: pl.DataType) -> pl.DataType:
    if dtype == pl.Null:
        return pl.String()
    if dtype.is_integer():
        return pl.Int64()
    if isinstance(dtype, pl.Decimal):
        return pl.Float64()
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Time):
        return pl.String()
    if isinstance(dtype, pl.Datetime):
        return TIMESTAMP
    if isinstance(dtype, pl.Duration):
        return pl.Duration("us")
    if isinstance(dtype, pl.List):
        return pl.List(_known(dtype.inner))  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return pl.Struct({f.name: _known(f.dtype) for f in dtype.fields})  # type: ignore[arg-type]
    return dtype
