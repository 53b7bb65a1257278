from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from fixtures.event_streams import FIELDS, TIME, Batch, disordered, drive, frame_of, unordered, whole
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from sage_common.errors import UnprocessableError
from sage_kernel.event_time import similarity_join as similarity_join_module
from sage_kernel.event_time.join_sides import JoinColumns
from sage_kernel.event_time.join_times import LATE_LEFT, LATE_RIGHT
from sage_kernel.event_time.similarity_join import SimilarityJoin, VectorSide
from sage_kernel.runtime.elements import END_OF_TIME_US
from sage_libs.native_scan import native_scan
from sage_libs.vector_pairs import NativePairSearch, NumpyPairSearch, PairSearch

Pair = tuple[Any, ...]
DIMENSION = 70
RENAMED = {"ts": "ts_right", "k": "k_right", "x": "x_right"}


def searches() -> list[PairSearch]:
    native = native_scan()
    return [NumpyPairSearch(), *([NativePairSearch(native)] if native is not None else [])]


@pytest.fixture(params=["numpy", "native"])
def search(request: pytest.FixtureRequest) -> PairSearch:
    for one in searches():
        if one.name == request.param:
            return one
    pytest.skip("sage-native is not installed")


def with_vectors(frame: pl.DataFrame) -> pl.DataFrame:
    """Add a vector at an angle that ``x`` says, of length 2; null stays null."""
    vectors = [None if x is None else vector_of(x) for x in frame.get_column("x")]
    return frame.with_columns(pl.Series("vector", vectors, dtype=pl.List(pl.Float32())))


def vector_of(x: int) -> list[float]:
    return [2 * math.cos(0.3 * x), *[0.0] * (DIMENSION - 2), 2 * math.sin(0.3 * x)]


def similarity(x: int, y: int) -> float:
    return round(math.cos(0.3 * (x - y)), 6)


def similarity_join(
    interval: tuple[int, int], threshold: float, search: PairSearch, k: int | None = None, on: tuple[str, ...] = (),
    bucket_us: int | None = 16, max_rows: int = 10_000,
) -> SimilarityJoin:  # fmt: skip
    side = VectorSide("vector", on, TIME, "ts")
    renamed = {name: new for name, new in RENAMED.items() if name not in on}
    return SimilarityJoin(
        JoinColumns(on, on, renamed, {}), (side, side), *interval, threshold,
        best=k, similarity="similarity", max_rows=max_rows, search=search, bucket_us=bucket_us,
    )  # fmt: skip


@st.composite
def two_streams(draw: st.DrawFn, stream: Callable[[], Any]) -> list[Batch]:
    left, right = list(draw(stream())), list(draw(stream()))
    watermarks = [-(10**9), -(10**9)]
    batches = []
    while left or right:
        index = 0 if not right or (left and draw(st.booleans())) else 1
        batch = (right if index else left).pop(0)
        watermarks[index] = max(watermarks[index], batch.watermark)
        batches.append(Batch(with_vectors(batch.frame), min(watermarks), index))
    return batches


@st.composite
def intervals(draw: st.DrawFn) -> tuple[int, int]:
    lower = draw(st.integers(-60, 60))
    return lower, draw(st.integers(lower, lower + 80))


def by_brute_force(
    left: pl.DataFrame, right: pl.DataFrame, interval: tuple[int, int], threshold: float, *, is_keyed: bool
) -> list[Pair]:
    """Return (left time, left key, left x, right time, right key, right x) of every pair."""
    times = pl.col("ts").to_physical()
    ours, theirs = (frame.select(times, "k", "x").rows() for frame in (left, right))
    return [
        (*one, *other)
        for one, other in product(ours, theirs)
        if one[2] is not None and other[2] is not None and similarity(one[2], other[2]) >= threshold
        and interval[0] <= other[0] - one[0] <= interval[1]
        and (not is_keyed or (one[1] is not None and one[1] == other[1]))
    ]  # fmt: skip


def pairs_in(frame: pl.DataFrame | None, *, is_keyed: bool = False) -> list[Pair]:
    if frame is None:
        return []
    columns = ["ts", "k", "x", "ts_right", "k" if is_keyed else "k_right", "x_right"]
    frame = frame.with_columns(pl.col("ts", "ts_right").to_physical())
    for x, y, found in frame.select("x", "x_right", "similarity").rows():
        assert found == pytest.approx(similarity(x, y), abs=2e-6)
    return frame.select(pl.col(name).alias(str(at)) for at, name in enumerate(columns)).rows()


def happened(frame: pl.DataFrame) -> pl.Series:
    return frame.get_column("ts").to_physical()


THRESHOLDS = st.sampled_from([-1.0, 0.0, 0.7, 0.95, 0.9999])


@seed(41)
@settings(max_examples=25)
@given(two_streams(disordered), intervals(), THRESHOLDS, st.booleans(), st.integers(0, 12), st.sampled_from([3, 500]))
def test_pairs_are_those_of_a_brute_force_join(
    batches: list[Batch], interval: tuple[int, int], threshold: float, is_keyed: bool, cut: int, bucket: int
) -> None:
    expected = sorted(
        by_brute_force(
            with_vectors(whole_of(batches, 0)), with_vectors(whole_of(batches, 1)), interval, threshold,
            is_keyed=is_keyed,
        ),
        key=repr,
    )  # fmt: skip
    on = ("k",) if is_keyed else ()
    for search in searches():
        given = drive(
            lambda search=search: similarity_join(interval, threshold, search, on=on, bucket_us=bucket),  # type: ignore[misc]
            batches, restart_after=cut, happened=happened,
        )  # fmt: skip
        assert given.keys() <= {""}
        assert sorted(pairs_in(given.get(""), is_keyed=is_keyed), key=repr) == expected


@seed(42)
@settings(max_examples=25)
@given(two_streams(unordered), intervals(), THRESHOLDS, st.none() | st.integers(1, 3), st.integers(0, 12))
def test_late_records_leave_and_the_others_pair_the_best_first(
    batches: list[Batch], interval: tuple[int, int], threshold: float, k: int | None, cut: int
) -> None:
    for search in searches():
        given = drive(
            lambda search=search: similarity_join(interval, threshold, search, k),  # type: ignore[misc]
            batches, restart_after=cut, happened=happened,
        )  # fmt: skip
        kept: list[list[pl.DataFrame]] = [[], []]
        late = [0, 0]
        watermark = -(10**9)
        for batch in batches:
            is_late = batch.frame.select(watermark > TIME).to_series()
            late[batch.input_index] += int(is_late.sum())
            kept[batch.input_index].append(batch.frame.filter(~is_late))
            watermark = max(watermark, batch.watermark)
        for port, expected_late in ((LATE_LEFT, late[0]), (LATE_RIGHT, late[1])):
            assert (given[port].height if port in given else 0) == expected_late
        pairs = by_brute_force(pl.concat([EMPTY, *kept[0]]), pl.concat([EMPTY, *kept[1]]), interval, threshold,
                               is_keyed=False)  # fmt: skip
        found = pairs_in(given.get(""))
        if k is None:
            assert sorted(found, key=repr) == sorted(pairs, key=repr)
        else:
            assert ranks_of(found) == best_of(pairs, kept[0], k)


EMPTY = pl.DataFrame(schema={**FIELDS, "vector": pl.List(pl.Float32())})


def whole_of(batches: Sequence[Batch], index: int) -> pl.DataFrame:
    frame = whole(batches, index)
    return frame.select("ts", "k", "x")


def ranks_of(pairs: list[Pair]) -> list[Pair]:
    """Return what the ties among right records leave certain: left record, similarity, time of the right one."""
    return sorted(((*pair[:3], similarity(pair[2], pair[5]), pair[3]) for pair in pairs), key=repr)


def best_of(pairs: list[Pair], left: Sequence[pl.DataFrame], k: int) -> list[Pair]:
    best: list[Pair] = []
    for record in pl.concat([EMPTY, *left]).select(pl.col("ts").to_physical(), "k", "x").rows():
        # Equal left records have the same pairs, each its own.
        own = {pair[3:]: pairs.count((*record, *pair[3:])) for pair in pairs if pair[:3] == record}
        copies = sum(1 for frame in left for row in frame.select(pl.col("ts").to_physical(), "k", "x").rows()
                     if row == record)  # fmt: skip
        mine = [pair for pair, count in own.items() for _ in range(count // copies)]
        mine.sort(key=lambda pair: (-similarity(record[2], pair[2]), pair[0]))
        best += [(*record, similarity(record[2], pair[2]), pair[0]) for pair in mine[:k]]
    return sorted(best, key=repr)


def test_a_bucket_goes_as_a_whole_and_the_state_stays_small(search: PairSearch) -> None:
    join = similarity_join((-10, 10), 0.9, search, bucket_us=5)
    for number in range(40):
        for side in (0, 1):
            join.on_batch(with_vectors(frame_of([(number * 10 + at, "a", at) for at in range(10)])), side)
        join.on_watermark(number * 10 + 10)
    # 20 records of either side can still make a pair, and five more wait for the end of their bucket.
    assert sum(frame.height for frame in join.snapshot().frames.values()) <= 50


def test_only_the_best_pairs_of_a_record_wait(search: PairSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sage_kernel.event_time.best_pairs._LEAST_PRUNED", 10)
    join = similarity_join((-1000, 1000), -1.0, search, k=2)
    join.on_batch(with_vectors(frame_of([(0, "a", 0)])), 0)
    for number in range(40):
        assert join.on_batch(with_vectors(frame_of([(number, "a", number % 7)])), 1) == []
    waiting = [frame for name, frame in join.snapshot().frames.items() if name.startswith("best")]
    assert sum(frame.height for frame in waiting) <= 11
    (given,) = join.on_watermark(END_OF_TIME_US)
    assert given.frame.select("x_right", pl.col("ts_right").to_physical()).rows() == [(0, 0), (0, 7)]


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ([1.0] * 3, "vector of 3 numbers, and those before have 70"),
        ([float("nan")] * DIMENSION, "NaN or infinity"),
        ([None] * DIMENSION, "NaN or infinity"),
        ([], "without numbers"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused_and_the_state_stays(
    search: PairSearch, vector: list[Any], words: str
) -> None:
    join = similarity_join((-10, 10), 0.9, search)
    join.on_batch(with_vectors(frame_of([(0, "a", 0)])), 0)
    bad = frame_of([(1, "a", 0)]).with_columns(pl.Series("vector", [vector], dtype=pl.List(pl.Float32())))
    before = join.snapshot()
    with pytest.raises(UnprocessableError, match=words):
        join.on_batch(bad, 1)
    assert join.snapshot().values == before.values
    assert [one.frame.height for one in join.on_batch(with_vectors(frame_of([(1, "a", 0)])), 1)] == [1]


def test_vectors_of_several_lengths_in_one_batch_are_refused(search: PairSearch) -> None:
    frame = frame_of([(0, "a", 0), (1, "a", 0)])
    vectors = pl.Series("vector", [[1.0], [1.0, 2.0]], dtype=pl.List(pl.Float32()))
    with pytest.raises(UnprocessableError, match="vectors of 1 and of 2 numbers"):
        similarity_join((-10, 10), 0.9, search).on_batch(frame.with_columns(vectors), 0)


def test_too_many_records_and_too_many_pairs_are_said(search: PairSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    join = similarity_join((-10, 10), 0.9, search, max_rows=5)
    frame = with_vectors(frame_of([(0, "a", 0)] * 4))
    join.on_batch(frame, 0)
    with pytest.raises(UnprocessableError, match="more than 5 records of the left input"):
        join.on_batch(frame, 0)
    monkeypatch.setattr(similarity_join_module, "MAX_PAIRS", 15)
    with pytest.raises(UnprocessableError, match=r"more than 15 pairs.*raise 'threshold'"):
        join.on_batch(frame, 1)


def test_zeros_and_other_column_types_are_compared(search: PairSearch) -> None:
    join = similarity_join((-10, 10), 0.0, search, bucket_us=None)
    zero = frame_of([(0, "a", 0)]).with_columns(pl.Series("vector", np.zeros((1, 2)), dtype=pl.Array(pl.Float64(), 2)))
    other = frame_of([(0, "a", 1)]).with_columns(pl.Series("vector", [[3.0, 4.0]], dtype=pl.List(pl.Float64())))
    assert join.on_batch(zero, 0) == []
    (given,) = join.on_batch(other, 1)
    assert given.frame.get_column("similarity").to_list() == [0.0]
