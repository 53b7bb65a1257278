from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from fixtures.duck import rows as duckdb_rows
from hypothesis import given, seed
from hypothesis import strategies as st

from sage_kernel.event_time.partial_aggregate import PartialAggregate
from sage_kernel.operators.aggregate import AGGREGATE

OURS = {
    "n": "count()", "there": "count(x)", "total": "sum(x * 2)", "least": "min(x)", "most": "max(s)",
    "middle": "mean(x)", "spread": "var(x)", "deviation": "std(x)", "early": "first(x)", "late": "last(s)",
    "kinds": "n_unique(s)",
    "all_x": "list(x)", "richest": "max_by(s, y)", "poorest": "min_by(s, y)", "any_x": "any_value(x)",
}  # fmt: skip
THEIRS = """count(*), count(x), sum(x * 2)::bigint, min(x), max(s), avg(x), var_samp(x), stddev_samp(x),
    list(x order by t)[1], list(s order by t)[-1], count(distinct s), list(x order by t),
    arg_max(s, y), arg_min(s, y)"""
SCHEMA = {"k": pl.Float64(), "t": pl.Int64(), "x": pl.Int64(), "s": pl.String(), "y": pl.Float64()}

# Times and y are distinct, so that first, last, max_by and min_by have one answer.
rows = st.lists(
    st.tuples(
        st.sampled_from([None, 0.0, 1.5, math.nan]),
        st.integers(-50, 50),
        st.one_of(st.none(), st.integers(-9, 9)),
        st.sampled_from(["", "a", "b", "ä"]),
        st.integers(-50, 50).map(float),
    ),
    max_size=40,
    unique_by=(lambda row: row[1], lambda row: row[4]),
)


def groups(aggregate: PartialAggregate, merged: pl.DataFrame) -> dict[str, list[Any]]:
    return {repr(row[0]): list(row[1:]) for row in merged.select("k", *aggregate.finish()).rows()}


@seed(21)
@given(rows, st.lists(st.integers(0, 40), max_size=4))
def test_merged_parts_agree_with_duckdb_over_the_whole(table: list[Any], cuts: list[int]) -> None:
    records = pl.DataFrame(table, schema=SCHEMA, orient="row")
    aggregate = PartialAggregate(OURS, pl.col("t"))
    places = [0, *sorted(cuts), records.height]
    parts = [aggregate.partial(records[a:b], ["k"]) for a, b in pairwise(places) if a < b]
    if not parts:
        return
    # Merged in pairs and then as a whole: the grouping must not matter.
    pairs = [aggregate.merge(pl.concat(parts[at : at + 2]), ["k"]) for at in range(0, len(parts), 2)]
    ours = groups(aggregate, aggregate.merge(pl.concat(pairs), ["k"]))
    query = f"select k, {THEIRS} from records group by k"
    theirs = {repr(row[0]): list(row[1:]) for row in duckdb_rows(query, records=records)}
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        *values, any_x = ours[key]
        assert close_to(values, expected), (values, expected)
        assert (any_x is None) == (values[1] == 0)


def close_to(ours: list[Any], theirs: list[Any]) -> bool:
    return all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in zip(ours, theirs, strict=True)
    )


def test_the_types_are_known_before_anything_runs() -> None:
    for time in (pl.col("t"), None):
        aggregate = PartialAggregate(OURS, time)
        types = aggregate.schema(SCHEMA)
        one = pl.DataFrame([(None, 1, 2, "a", 0.5)], schema=SCHEMA, orient="row")
        result = aggregate.partial(one, ["k"]).select(aggregate.finish())
        assert dict(result.schema) == types


def test_ties_go_to_the_first_and_the_last_that_came() -> None:
    table = [(0.0, 1, 1, "a", 1.0), (0.0, 1, 2, "b", 1.0), (0.0, 1, 3, "c", 1.0)]
    records = pl.DataFrame(table, schema=SCHEMA, orient="row")
    texts = {"first": "first(s)", "last": "last(s)", "top": "max_by(s, y)", "list": "list(s)"}
    aggregate = PartialAggregate(texts, pl.col("t"))
    parts = pl.concat([aggregate.partial(records[:2], ["k"]), aggregate.partial(records[2:], ["k"])])
    result = aggregate.merge(parts, ["k"]).select(aggregate.finish()).row(0)
    assert result == ("a", "c", "a", ["a", "b", "c"])


def test_negative_zero_and_nan_are_one_key_each() -> None:
    records = pl.DataFrame({"k": [0.0, -0.0, math.nan, -math.nan, None, None]})
    aggregate = PartialAggregate({"n": "count()"}, None)
    parts = pl.concat([aggregate.partial(records[at : at + 1], ["k"]) for at in range(6)])
    assert aggregate.merge(parts, ["k"]).select(aggregate.finish()).get_column("n").to_list() == [2, 2, 2]


def test_every_aggregate_is_refused_in_the_node_where_it_is_none() -> None:
    for text in ("median(x)", "sum()", "sum(x, y)", "count", "sum(x))", "max_by(x,)", "x" * 3000):
        with pytest.raises(ValueError, match="aggs"):
            AGGREGATE.spec.model_validate({"op": "aggregate", "aggs": {"n": text}})
