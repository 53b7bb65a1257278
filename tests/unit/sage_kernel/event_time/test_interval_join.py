from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from fixtures.duck import rows
from fixtures.event_streams import FIELDS, TIME, Batch, disordered, drive, frame_of, unordered, whole
from hypothesis import given, seed
from hypothesis import strategies as st

from sage_common.errors import UnprocessableError
from sage_kernel.event_time.interval_join import IntervalJoin, JoinSide
from sage_kernel.event_time.join_sides import JoinColumns
from sage_kernel.event_time.join_times import LATE_LEFT, LATE_RIGHT
from sage_kernel.event_time.lookup_join import LookupJoin

COLUMNS = JoinColumns(("k",), ("k",), {"ts": "ts_right", "x": "x_right"}, {})
SIDE = JoinSide(("k",), TIME, "ts")


def interval_join(lower: int, upper: int, how: str = "inner") -> IntervalJoin:
    return IntervalJoin(COLUMNS, (SIDE, SIDE), lower, upper, FIELDS, keeps_unmatched=how == "left")


def physical(frame: pl.DataFrame | None) -> list[tuple[Any, ...]]:
    if frame is None:
        return []
    times = [name for name in ("ts", "ts_right") if name in frame.columns]
    return sorted(frame.with_columns(pl.col(times).to_physical()).rows(), key=repr)


def happened(frame: pl.DataFrame) -> pl.Series:
    return frame.get_column("ts").to_physical()


@st.composite
def two_streams(draw: st.DrawFn, stream: Callable[[], Any]) -> list[Batch]:
    """Return batches of two inputs in turns, each with the least of both watermarks behind it."""
    left, right = list(draw(stream())), list(draw(stream()))
    watermarks = [-(10**9), -(10**9)]
    batches = []
    while left or right:
        index = 0 if not right or (left and draw(st.booleans())) else 1
        batch = (right if index else left).pop(0)
        watermarks[index] = max(watermarks[index], batch.watermark)
        batches.append(Batch(batch.frame, min(watermarks), index))
    return batches


@st.composite
def intervals(draw: st.DrawFn) -> tuple[int, int]:
    lower = draw(st.integers(-60, 60))
    return lower, draw(st.integers(lower, lower + 80))


def by_duckdb(left: pl.DataFrame, right: pl.DataFrame, interval: tuple[int, int], how: str) -> list[tuple[Any, ...]]:
    query = f"""
        select l.ts, l.k, l.x, r.ts, r.x from l {how} join r
        on l.k = r.k and r.ts between l.ts + {interval[0]} and l.ts + {interval[1]}"""
    return rows(query, l=left.with_columns(TIME.alias("ts")), r=right.with_columns(TIME.alias("ts")))


@seed(31)
@given(two_streams(disordered), intervals(), st.sampled_from(["inner", "left"]), st.integers(0, 12))
def test_pairs_agree_with_duckdb_over_the_whole_input(
    batches: list[Batch], interval: tuple[int, int], how: str, cut: int
) -> None:
    given = drive(lambda: interval_join(*interval, how), batches, restart_after=cut, happened=happened)
    assert given.keys() <= {""}
    assert physical(given.get("")) == by_duckdb(whole(batches), whole(batches, 1), interval, how)


@seed(32)
@given(two_streams(unordered), intervals(), st.sampled_from(["inner", "left"]), st.integers(0, 12))
def test_late_records_are_those_before_the_watermark_and_the_others_pair(
    batches: list[Batch], interval: tuple[int, int], how: str, cut: int
) -> None:
    given = drive(lambda: interval_join(*interval, how), batches, restart_after=cut, happened=happened)
    kept: list[list[pl.DataFrame]] = [[], []]
    late: list[list[pl.DataFrame]] = [[], []]
    watermark = -(10**9)
    for batch in batches:
        is_late = batch.frame.select(watermark > TIME).to_series()
        late[batch.input_index].append(batch.frame.filter(is_late))
        kept[batch.input_index].append(batch.frame.filter(~is_late))
        watermark = max(watermark, batch.watermark)
    empty = pl.DataFrame(schema=FIELDS)
    assert physical(given.get(LATE_LEFT)) == physical(pl.concat([empty, *late[0]]))
    assert physical(given.get(LATE_RIGHT)) == physical(pl.concat([empty, *late[1]]))
    left, right = pl.concat([empty, *kept[0]]), pl.concat([empty, *kept[1]])
    assert physical(given.get("")) == by_duckdb(left, right, interval, how)


def test_what_no_record_can_match_any_more_is_forgotten() -> None:
    join = interval_join(-10, 10)
    for number in range(200):
        for side in (0, 1):
            join.on_batch(frame_of([(number * 10 + at, "a", at) for at in range(10)]), side)
        join.on_watermark(number * 10 + 10)
    # 20 records of each side can still make a pair; a quarter more may wait to be freed, in each of the runs.
    assert sum(frame.height for frame in join.snapshot().frames.values()) <= 120


def test_keys_of_different_number_types_and_odd_floats_are_compared_as_numbers() -> None:
    fields = {"ts": FIELDS["ts"], "k": pl.Float64()}
    columns = JoinColumns(("k",), ("k",), {"ts": "ts_right"}, {0: pl.Float64()})
    join = IntervalJoin(columns, (SIDE, SIDE), 0, 0, fields, keeps_unmatched=False)
    times = pl.Series("ts", [0] * 4).cast(FIELDS["ts"])
    join.on_batch(pl.DataFrame([times, pl.Series("k", [-0.0, math.nan, 2.0, None])]), 0)
    frames = [emission.frame for emission in join.on_batch(pl.DataFrame([times[:2], pl.Series("k", [0, 2])]), 1)]
    assert pl.concat(frames).get_column("k").to_list() == [-0.0, 2.0]
    (pair,) = join.on_batch(pl.DataFrame([times[:1], pl.Series("k", [math.nan])]), 1)
    assert pair.frame.height == 1


@seed(33)
@given(disordered(), disordered(), st.sampled_from(["inner", "left"]))
def test_looked_up_rows_agree_with_duckdb(stream: list[Batch], table: list[Batch], how: str) -> None:
    def make() -> LookupJoin:
        join = LookupJoin(COLUMNS, FIELDS, 1000, keeps_unmatched=how == "left")
        for batch in table:
            assert not join.on_batch(batch.frame, 1)
        return join

    given = lookup(make(), how, stream)
    query = f"select l.ts, l.k, l.x, r.ts, r.x from l {how} join r on l.k = r.k"
    left, right = whole(stream), whole(table)
    assert physical(given) == rows(query, l=left.with_columns(TIME.alias("ts")), r=right.with_columns(TIME.alias("ts")))


def lookup(join: LookupJoin, how: str, stream: list[Batch]) -> pl.DataFrame | None:
    restored = LookupJoin(COLUMNS, FIELDS, 1000, keeps_unmatched=how == "left")
    restored.restore(join.snapshot())
    frames = [emission.frame for batch in stream for emission in restored.on_batch(batch.frame, 0)]
    return pl.concat(frames) if frames else None


def test_a_table_that_is_too_large_is_refused() -> None:
    join = LookupJoin(COLUMNS, FIELDS, 2, keeps_unmatched=False)
    with pytest.raises(UnprocessableError, match="more than 2 rows; raise 'max_rows'"):
        join.on_batch(frame_of([(0, "a", 1)] * 3), 1)
