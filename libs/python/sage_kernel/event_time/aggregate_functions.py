"""The aggregate functions, each as partial results that can be merged: see ``partial_aggregate``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

Parts = Mapping[str, pl.Expr]


@dataclass(frozen=True)
class AggregateFunction:
    """An aggregate function.

    Attributes:
        partial: makes the parts of a partial result from the arguments of a group's records and their event times
            (None where the stream has none).
        merge: makes the same parts of several partial results, in the order in which their records arrived.
        finish: makes the value of one partial result.
    """

    partial: Callable[[Sequence[pl.Expr], pl.Expr | None], Parts]
    merge: Callable[[Parts], Parts]
    finish: Callable[[Parts], pl.Expr]


def _count(arguments: Sequence[pl.Expr], time: pl.Expr | None) -> Parts:
    counted = arguments[0].count() if arguments else pl.len()
    return {"n": counted.cast(pl.Int64)}


def _sum_merge(parts: Parts) -> Parts:
    return {name: part.sum() for name, part in parts.items()}


def _sum(arguments: Sequence[pl.Expr], time: pl.Expr | None) -> Parts:
    return {"sum": arguments[0].sum(), "n": arguments[0].count().cast(pl.Int64)}


def _mean(arguments: Sequence[pl.Expr], time: pl.Expr | None) -> Parts:
    return {"sum": arguments[0].cast(pl.Float64).sum(), "n": arguments[0].count().cast(pl.Int64)}


def _moments(arguments: Sequence[pl.Expr], time: pl.Expr | None) -> Parts:
    value = arguments[0].cast(pl.Float64)
    n = value.count().cast(pl.Int64)
    return {"n": n, "mean": value.mean().fill_null(0.0), "m2": (value.var(ddof=0) * n).fill_null(0.0)}


def _moments_merge(parts: Parts) -> Parts:
    """Merge by the pairwise formula (Chan, Golub, LeVeque 1979), which does not cancel as sums of squares do."""
    n = parts["n"].sum()
    mean = ((parts["n"] * parts["mean"]).sum() / n).fill_nan(0.0)
    return {"n": n, "mean": mean, "m2": parts["m2"].sum() + (parts["n"] * (parts["mean"] - mean).pow(2)).sum()}


def _variance(parts: Parts) -> pl.Expr:
    return pl.when(parts["n"] > 1).then(parts["m2"] / (parts["n"] - 1))


def _first(value: pl.Expr, time: pl.Expr | None) -> pl.Expr:
    return value.first() if time is None else value.filter(time == time.min()).first()


def _last(value: pl.Expr, time: pl.Expr | None) -> pl.Expr:
    return value.last() if time is None else value.filter(time == time.max()).last()


def _by_time(
    pick: Callable[[pl.Expr, pl.Expr | None], pl.Expr], edge: Callable[[pl.Expr], pl.Expr]
) -> AggregateFunction:
    def partial(arguments: Sequence[pl.Expr], time: pl.Expr | None) -> Parts:
        picked = {"value": pick(arguments[0], time)}
        return picked if time is None else {**picked, "time": edge(time)}

    def merge(parts: Parts) -> Parts:
        return partial([parts["value"]], parts.get("time"))

    return AggregateFunction(partial, merge, lambda parts: parts["value"])


def _by_other(edge: Callable[[pl.Expr], pl.Expr]) -> AggregateFunction:
    def partial(arguments: Sequence[pl.Expr], time: pl.Expr | None) -> Parts:
        value, by = arguments
        return {"value": value.filter(by == edge(by)).first(), "by": edge(by)}

    def merge(parts: Parts) -> Parts:
        return partial([parts["value"], parts["by"]], None)

    return AggregateFunction(partial, merge, lambda parts: parts["value"])


def _simple(partial: Callable[[pl.Expr], pl.Expr]) -> AggregateFunction:
    """Return a function whose partial results merge as its values do."""
    return AggregateFunction(
        lambda arguments, _: {"value": partial(arguments[0])},
        lambda parts: {"value": partial(parts["value"])},
        lambda parts: parts["value"],
    )


def _list(arguments: Sequence[pl.Expr], time: pl.Expr | None) -> Parts:
    if time is None:
        return {"values": arguments[0].implode()}
    return {"timed": pl.struct(time.alias("t"), arguments[0].alias("v")).implode()}


def _list_finish(parts: Parts) -> pl.Expr:
    if "values" in parts:
        return parts["values"]
    element = pl.element()
    in_order = element.sort_by(element.struct.field("t"), maintain_order=True)
    return parts["timed"].list.eval(in_order.struct.field("v"))


def _exploded(parts: Parts) -> Parts:
    return {name: part.explode().implode() for name, part in parts.items()}


FUNCTIONS: Mapping[str, AggregateFunction] = {
    "count": AggregateFunction(_count, _sum_merge, lambda parts: parts["n"]),
    "sum": AggregateFunction(_sum, _sum_merge, lambda parts: pl.when(parts["n"] > 0).then(parts["sum"])),
    "mean": AggregateFunction(_mean, _sum_merge, lambda parts: pl.when(parts["n"] > 0).then(parts["sum"] / parts["n"])),
    "var": AggregateFunction(_moments, _moments_merge, _variance),
    "std": AggregateFunction(_moments, _moments_merge, lambda parts: _variance(parts).sqrt()),
    "min": _simple(lambda value: value.min()),
    "max": _simple(lambda value: value.max()),
    "any_value": _simple(lambda value: value.drop_nulls().first()),
    "first": _by_time(_first, lambda time: time.min()),
    "last": _by_time(_last, lambda time: time.max()),
    "max_by": _by_other(lambda by: by.max()),
    "min_by": _by_other(lambda by: by.min()),
    "n_unique": AggregateFunction(
        lambda arguments, _: {"values": arguments[0].drop_nulls().unique().implode()},
        lambda parts: {"values": parts["values"].explode().unique().implode()},
        lambda parts: parts["values"].list.len().cast(pl.Int64),
    ),
    "list": AggregateFunction(_list, _exploded, _list_finish),
}
"""By the name that ``aggregates`` gives them. NaN counts for nothing in ``min``, ``max``, ``max_by`` and ``min_by``
where there are other values; a record whose ``by`` is null counts for nothing in the last two."""
