"""A user's associative function over the records of a group, as a combiner: every record is a partial result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from sage_common.errors import UnprocessableError

# A field's name has no colon, so this column meets none of the record's.
_RECORD = ":record"

ReduceFunction = Callable[[dict[str, object], dict[str, object]], dict[str, object]]


class Reduction:
    """Calls a function of two records until one is left. It is called for records in the order of their arrival within
    a part of the stream, and for the results of parts.

    Args:
        function: takes two records and returns one with the same fields; it must be associative.
        fields: the type of a record.
        key: fields that a record has in common with its group.
    """

    def __init__(self, function: ReduceFunction, fields: Mapping[str, pl.DataType], key: Sequence[str]) -> None:
        self._function = function
        self._fields = dict(fields)
        self._results = [name for name in fields if name not in key]

    def partial(self, records: pl.DataFrame, by: Sequence[str], carry: Sequence[pl.Expr] = ()) -> pl.DataFrame:
        """Return one row for each group of records; see ``Combiner``."""
        return self.merge(records.with_columns(pl.struct(list(self._fields)).alias(_RECORD)), by, carry)

    def merge(self, partials: pl.DataFrame, by: Sequence[str], carry: Sequence[pl.Expr] = ()) -> pl.DataFrame:
        """Return one row for each group of partial results."""
        groups = partials.group_by(by, maintain_order=True).agg(*carry, pl.col(_RECORD).implode())
        results = [functools.reduce(self._function, group) for group in groups.get_column(_RECORD).to_list()]
        try:
            column = pl.Series(_RECORD, results, dtype=pl.Struct(self._fields), strict=True)
        except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UnprocessableError(f"the function returned a record of another type: {reason}") from None
        return groups.with_columns(column)

    def finish(self) -> list[pl.Expr]:
        """Return the fields of the record that is left."""
        return [pl.col(_RECORD).struct.field(name) for name in self._results]
