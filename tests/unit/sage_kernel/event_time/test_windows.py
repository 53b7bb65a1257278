from __future__ import annotations

from collections import defaultdict
from typing import Any

import polars as pl
import pytest
from fixtures.duck import rows
from fixtures.event_streams import FIELDS, TIME, Batch, disordered, drive, frame_of, unordered, whole
from hypothesis import given, seed
from hypothesis import strategies as st

from sage_common.errors import UnprocessableError
from sage_kernel.event_time.paned_windows import PanedWindows
from sage_kernel.event_time.partial_aggregate import PartialAggregate
from sage_kernel.event_time.session_windows import SessionWindows
from sage_kernel.event_time.windows import WindowSpec
from sage_kernel.operator import StatefulOperator

AGGREGATES = {"n": "count()", "total": "sum(x)", "least": "min(x)", "values": "list(x)"}
Rows = list[tuple[Any, ...]]


@st.composite
def paned(draw: st.DrawFn) -> WindowSpec:
    slide = draw(st.integers(1, 40))
    size = slide if draw(st.booleans()) else draw(st.integers(slide, 120))
    kind = "tumbling" if size == slide else "sliding"
    return WindowSpec(kind, size, slide, 0, draw(st.integers(-50, 50)), draw(st.integers(0, 30)))  # type: ignore[arg-type]


def operator(window: WindowSpec, key: tuple[str, ...] = ("k",)) -> StatefulOperator:
    kind = SessionWindows if window.kind == "session" else PanedWindows
    return kind(PartialAggregate(AGGREGATES, TIME), window, key, TIME, "ts")


def rows_of(frame: pl.DataFrame | None) -> Rows:
    """Return (key, start, end, count, sum, min, sorted values), sorted."""
    if frame is None:
        return []
    flat = frame.with_columns(
        pl.col("window").struct.field("start").to_physical().alias("start"),
        pl.col("window").struct.field("end").to_physical().alias("end"),
    )
    order = lambda values: sorted(values, key=lambda value: (value is None, value))  # noqa: E731
    given = [
        (r["k"], r["start"], r["end"], r["n"], r["total"], r["least"], order(r["values"])) for r in flat.to_dicts()
    ]
    return sorted(given, key=repr)


def counted(groups: dict[tuple[Any, int, int], list[int | None]]) -> Rows:
    counts = []
    for (key, start, end), values in groups.items():
        there = [value for value in values if value is not None]
        total = sum(there) if there else None
        ordered = sorted(values, key=lambda value: (value is None, value))
        counts.append((key, start, end, len(values), total, min(there, default=None), ordered))
    return sorted(counts, key=repr)


def paned_by_duckdb(records: pl.DataFrame, window: WindowSpec) -> Rows:
    events = records.with_columns(pl.col("ts").to_physical())
    query = f"""
        with starts as (
            select *, unnest(range(
                ((ts - {window.offset_us} - {window.size_us}) // {window.slide_us} - 1) * {window.slide_us},
                ts - {window.offset_us} + {window.slide_us}, {window.slide_us})) + {window.offset_us} as s from events)
        select k, s, s + {window.size_us}, count(*), sum(x)::bigint, min(x), list(x order by x nulls last)
        from starts where s <= ts and ts < s + {window.size_us} group by k, s"""
    return rows(query, events=events)


def sessions_by_duckdb(records: pl.DataFrame, gap: int) -> Rows:
    events = records.with_columns(pl.col("ts").to_physical())
    query = f"""
        with marked as (
            select *, coalesce(ts - lag(ts) over (partition by k order by ts) > {gap}, true)::int as begins
            from events),
        numbered as (select *, sum(begins) over (partition by k order by ts) as session from marked)
        select k, min(ts), max(ts) + {gap}, count(*), sum(x)::bigint, min(x), list(x order by x nulls last)
        from numbered group by k, session"""
    return rows(query, events=events)


@seed(11)
@given(disordered(), paned(), st.integers(0, 8))
def test_windows_agree_with_duckdb_over_the_whole_input(batches: list[Batch], window: WindowSpec, cut: int) -> None:
    given = drive(lambda: operator(window), batches, restart_after=cut)
    assert rows_of(given.get("")) == paned_by_duckdb(whole(batches), window)
    assert "late" not in given


@seed(12)
@given(disordered(), st.integers(1, 40), st.integers(0, 30), st.integers(0, 8))
def test_sessions_agree_with_duckdb_over_the_whole_input(
    batches: list[Batch], gap: int, lateness: int, cut: int
) -> None:
    window = WindowSpec("session", gap_us=gap, lateness_us=lateness)
    given = drive(lambda: operator(window), batches, restart_after=cut)
    assert rows_of(given.get("")) == sessions_by_duckdb(whole(batches), gap)
    assert "late" not in given


@seed(13)
@given(unordered(), paned(), st.integers(0, 8))
def test_late_records_are_those_whose_windows_have_all_been_given_out(
    batches: list[Batch], window: WindowSpec, cut: int
) -> None:
    given = drive(lambda: operator(window), batches, restart_after=cut)
    groups: dict[tuple[Any, int, int], list[int | None]] = defaultdict(list)
    late, watermark = [], -(10**9)
    for batch in batches:
        for record in batch.frame.with_columns(pl.col("ts").to_physical()).to_dicts():
            time = record["ts"]
            start = (time - window.offset_us) // window.slide_us * window.slide_us + window.offset_us
            starts = []
            while start + window.size_us > time:
                if start + window.size_us + window.lateness_us > watermark:
                    starts.append(start)
                start -= window.slide_us
            for start in starts:
                groups[record["k"], start, start + window.size_us].append(record["x"])
            if not starts:
                late.append(record)
        watermark = max(watermark, batch.watermark)
    assert rows_of(given.get("")) == counted(groups)
    got = given.get("late", pl.DataFrame(schema=FIELDS)).with_columns(pl.col("ts").to_physical()).to_dicts()
    assert sorted(got, key=repr) == sorted(late, key=repr)


@seed(14)
@given(unordered(), st.integers(1, 40), st.integers(0, 30), st.integers(0, 8))
def test_a_late_record_touches_no_open_session(batches: list[Batch], gap: int, lateness: int, cut: int) -> None:
    window = WindowSpec("session", gap_us=gap, lateness_us=lateness)
    given = drive(lambda: operator(window), batches, restart_after=cut)
    closed: dict[tuple[Any, int, int], list[int | None]] = {}
    open_sessions: list[tuple[Any, list[tuple[int, int | None]]]] = []
    late, watermark = [], -(10**9)
    for batch in batches:
        for record in batch.frame.with_columns(pl.col("ts").to_physical()).to_dicts():
            open_sessions.append((record["k"], [(record["ts"], record["x"])]))
        open_sessions = merged(open_sessions, gap)
        patience = gap + lateness
        for session in list(open_sessions):
            if session[1][-1][0] + patience < watermark:
                open_sessions.remove(session)
                late += [(session[0], time, value) for time, value in session[1]]
        watermark = max(watermark, batch.watermark)
        for session in list(open_sessions):
            if session[1][-1][0] + patience < watermark:
                open_sessions.remove(session)
                close(closed, session, gap)
    for session in open_sessions:
        close(closed, session, gap)
    assert rows_of(given.get("")) == counted(closed)
    got = given.get("late", pl.DataFrame(schema=FIELDS)).with_columns(pl.col("ts").to_physical())
    assert sorted(((r["k"], r["ts"], r["x"]) for r in got.to_dicts()), key=repr) == sorted(late, key=repr)


def close(closed: dict[tuple[Any, int, int], list[int | None]], session: Any, gap: int) -> None:
    key, records = session
    closed[key, records[0][0], records[-1][0] + gap] = [value for _, value in records]


def merged(sessions: Any, gap: int) -> Any:
    result: list[Any] = []
    for key, records in sorted(sessions, key=lambda session: (repr(session[0]), session[1][0][0])):
        if result and result[-1][0] == key and records[0][0] - result[-1][1][-1][0] <= gap:
            result[-1] = (key, sorted(result[-1][1] + records, key=lambda record: record[0]))
        else:
            result.append((key, sorted(records, key=lambda record: record[0])))
    return result


def test_records_exactly_a_gap_apart_are_one_session() -> None:
    window = WindowSpec("session", gap_us=10)
    together = drive(
        lambda: operator(window), [Batch(frame_of([(0, "a", 1)]), 10), Batch(frame_of([(10, "a", 1)]), 20)]
    )
    assert [row[1:4] for row in rows_of(together[""])] == [(0, 20, 2)]
    apart = drive(lambda: operator(window), [Batch(frame_of([(0, "a", 1)]), 11), Batch(frame_of([(11, "a", 1)]), 20)])
    assert [row[1:4] for row in rows_of(apart[""])] == [(0, 10, 1), (11, 21, 1)]


def test_without_a_key_all_records_are_one_group() -> None:
    window = WindowSpec("tumbling", 10, 10)
    frame = drive(lambda: operator(window, ()), [Batch(frame_of([(1, "a", 1), (2, None, 2), (-1, "b", 3)]), 0)])[""]
    assert frame["n"].to_list() == [1, 2]
    assert frame.columns == ["window", "n", "total", "least", "values"]


def test_a_record_without_a_sound_event_time_is_refused() -> None:
    none = frame_of([(1, "a", 1)]).with_columns(ts=pl.lit(None, FIELDS["ts"]))
    for window in (WindowSpec("tumbling", 10, 10), WindowSpec("session", gap_us=1)):
        with pytest.raises(UnprocessableError, match="no event time"):
            operator(window).on_batch(none, 0)
        for far in (-(2**63), 2**63 - 1):
            with pytest.raises(UnprocessableError, match="70,000 years"):
                operator(window).on_batch(frame_of([(far, "a", 1)]), 0)


def test_sessions_of_many_keys_go_on_while_those_of_a_few_are_given_out() -> None:
    window = WindowSpec("session", gap_us=10)
    rows = [(0, "early", 1), *((20, f"k{n}", 1) for n in range(50)), (25, "k0", 2)]
    batches = [Batch(frame_of(rows), 15), Batch(frame_of([(30, "k1", 3)]), 31), Batch(frame_of([(33, "k1", 1)]), 36)]
    got = rows_of(drive(lambda: operator(window), batches, restart_after=2)[""])
    assert got == sessions_by_duckdb(whole(batches), 10)


def test_a_window_of_the_same_size_behind_holds_the_result_of_a_window() -> None:
    window = WindowSpec("tumbling", 10, 10)
    first = drive(lambda: operator(window), [Batch(frame_of([(3, "a", 1), (19, "a", 2)]), 0)])[""]
    time = pl.col("window").struct.field("end").to_physical() - 1
    second = PanedWindows(PartialAggregate({"m": "count()"}, time), window, (), time, "window")
    second.on_batch(first, 0)
    (emission,) = second.on_watermark(100)
    starts = emission.frame.get_column("window").struct.field("start").to_physical().to_list()
    assert starts == [0, 10]
