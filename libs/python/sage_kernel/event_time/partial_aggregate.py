"""Aggregates as partial results: made for parts of a stream, merged in any grouping, finished once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from sage_kernel.aggregates import ARGUMENTS, AggregateCall, parse_aggregate
from sage_kernel.event_time.aggregate_functions import FUNCTIONS, AggregateFunction
from sage_kernel.expressions import scalar

# A field's name has no colon, so these columns meet none of the record's.
_TIME = ":time"


class PartialAggregate:
    """A combiner of several aggregates: pure functions from frames to frames.

    ``finish(merge(concat(partial(a), partial(b))))`` is what one aggregate over ``a`` and ``b`` gives, so a job makes
    the partial results of each split where the split is, and merges them in one place.

    Args:
        aggregates: their text by the name of the field that each becomes.
        time: the event time of a record, for ``first``, ``last`` and ``list``; None takes the order of arrival.
        scalar: reads the SQL of an argument.
    """

    def __init__(
        self,
        aggregates: Mapping[str, str],
        time: pl.Expr | None,
        scalar: Callable[[str], pl.Expr] = scalar,
    ) -> None:
        self._calls = {name: parse_aggregate(text) for name, text in aggregates.items()}
        self._functions: dict[str, AggregateFunction] = {
            name: FUNCTIONS[call.function] for name, call in self._calls.items()
        }
        # Arguments are computed once for a batch, before it is grouped: a scalar sees one record only.
        self._arguments = [
            scalar(sql).alias(_argument(name, number))
            for name, call in self._calls.items()
            for number, sql in enumerate(call.arguments)
        ]
        self._time = None if time is None or not any(map(_is_timed, self._calls.values())) else pl.col(_TIME)
        if self._time is not None and time is not None:
            self._arguments.append(time.alias(_TIME))
        parts = {name: self._partial_of(name) for name in self._calls}
        self._partials = [part.alias(_part(name, key)) for name in parts for key, part in parts[name].items()]
        self._parts = {name: {key: pl.col(_part(name, key)) for key in parts[name]} for name in parts}
        self._merges = [
            part.alias(_part(name, key))
            for name, function in self._functions.items()
            for key, part in function.merge(self._parts[name]).items()
        ]

    def partial(self, records: pl.DataFrame, by: Sequence[str], carry: Sequence[pl.Expr] = ()) -> pl.DataFrame:
        """Return one row for each group of records; see ``Combiner``."""
        return records.with_columns(self._arguments).group_by(by, maintain_order=False).agg(*carry, *self._partials)

    def merge(self, partials: pl.DataFrame, by: Sequence[str], carry: Sequence[pl.Expr] = ()) -> pl.DataFrame:
        """Return one row for each group of partial results, in the same form."""
        return partials.group_by(by, maintain_order=False).agg(*carry, *self._merges)

    def finish(self) -> list[pl.Expr]:
        """Return the expressions that make the aggregates of merged partial results."""
        return [function.finish(self._parts[name]).alias(name) for name, function in self._functions.items()]

    def schema(self, records: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
        """Return the type of each aggregate. Raises PolarsError where an argument does not fit its function."""
        read = {name for argument in self._arguments for name in argument.meta.root_names() if name in records}
        # A frame of a thousand fields takes milliseconds to make.
        empty = pl.LazyFrame(schema={name: records[name] for name in read}).with_columns(self._arguments)
        partials = empty.group_by(pl.lit(0).alias(":all")).agg(self._partials)
        merged = partials.group_by(":all").agg(self._merges)
        return dict(merged.select(self.finish()).collect_schema())

    def _partial_of(self, name: str) -> Mapping[str, pl.Expr]:
        arguments = [pl.col(_argument(name, number)) for number in range(len(self._calls[name].arguments))]
        return self._functions[name].partial(arguments, self._time)


def _is_timed(call: AggregateCall) -> bool:
    return call.function in ("first", "last", "list")


def _argument(name: str, number: int) -> str:
    return f":{name}.{number}"


def _part(name: str, key: str) -> str:
    return f"{name}:{key}"


assert ARGUMENTS.keys() == FUNCTIONS.keys()
