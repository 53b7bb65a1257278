"""A similarity join of two streams in event time: a left and a right record whose vectors are alike make a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.event_time.best_pairs import BestPairs
from sage_kernel.event_time.event_times import checked_times
from sage_kernel.event_time.join_sides import JoinColumns
from sage_kernel.event_time.join_times import watermark_of_pairs, without_late
from sage_kernel.event_time.timed_index import Ints
from sage_kernel.event_time.vector_window import TimeBucket, VectorWindow
from sage_kernel.operator import Emission, State
from sage_kernel.runtime.elements import END_OF_TIME_US, START_OF_TIME_US
from sage_kernel.vector_columns import vectors_of
from sage_libs.quantization import Floats, unit_rows
from sage_libs.vector_pairs import PairSearch, TooManyPairsError, distinct, similar_pairs

# Columns that a record has while it is kept; a field's name has no colon.
LEFT_ID, LEFT_TIME, RIGHT_TIME = ":left", ":left_time", ":right_time"
# An interval is about so many buckets: what expires is kept by at most one bucket's time longer.
_BUCKETS = 8
_LEAST_BUCKET_US = 1_000_000
# Records whose pairs are looked for in one call, and the pairs that it may find.
_QUERIES = 256
MAX_PAIRS = 1_000_000


@dataclass(frozen=True)
class VectorSide:
    """One input: its vectors, its key, its event time in microseconds, and the name of the field with that."""

    vector: str
    on: tuple[str, ...]
    time: pl.Expr
    time_field: str


class SimilarityJoin:
    """A stateful operator that gives out pairs of records whose vectors have at least a cosine similarity.

    A pair has equal keys and ``left + lower <= right <= left + upper`` in event time. Without ``best`` it is given out
    as soon as both of its records are there; with it, each left record's best pairs are given out when no further right
    record can come. A record is kept while one that is not late could still make a pair with it, and up to an eighth of
    the interval, or a second, longer. A record before the watermark is late.

    Args:
        columns: what a pair is made of.
        sides: left and right.
        lower_us, upper_us: the interval, from the left record's time.
        threshold: least similarity, from -1 to 1.
        best: how many pairs of a left record are given out; None gives out all. Ties go to the earlier right record.
        similarity: the field that gets the similarity.
        max_rows: most records of either input that are kept.
        search: finds the pairs.
        bucket_us: the span of time that expires together; None takes what fits the interval.
    """

    def __init__(
        self,
        columns: JoinColumns,
        sides: tuple[VectorSide, VectorSide],
        lower_us: int,
        upper_us: int,
        threshold: float,
        *,
        best: int | None,
        similarity: str,
        max_rows: int,
        search: PairSearch,
        bucket_us: int | None = None,
    ) -> None:
        self._columns = columns
        self._sides = sides
        self._lower = lower_us
        self._upper = upper_us
        self._threshold = threshold
        self._similarity = similarity
        self._max_rows = max_rows
        self._search = search
        span = bucket_us or max(_LEAST_BUCKET_US, (upper_us - lower_us) // _BUCKETS)
        self._windows = (VectorWindow(search, span), VectorWindow(search, span))
        self._best = None if best is None else BestPairs(best, LEFT_ID, LEFT_TIME, (similarity, RIGHT_TIME))
        self._dimension: int | None = None
        self._next_id = 0
        self._watermark = START_OF_TIME_US

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Find the pairs that the records make with those of the other side, and keep them for those to come."""
        side = self._sides[input_index]
        times = checked_times(frame, side.time, side.time_field).to_numpy()
        frame, times, emissions = without_late(frame, times, self._watermark, input_index)
        frame, times = self._comparable(frame, times, side)
        if not frame.height:
            return emissions
        unit = self._unit(frame, side)
        window = self._windows[input_index]
        if window.rows + frame.height > self._max_rows:
            raise UnprocessableError(
                f"more than {self._max_rows} records of the {('left', 'right')[input_index]} input are near in time; "
                "narrow 'within', or raise 'max_rows'",
                code="too_many_records",
            )
        if input_index == 0:
            ids = np.arange(self._next_id, self._next_id + frame.height)
            frame = frame.hstack([pl.Series(LEFT_ID, ids)])
        pairs = [
            self._pairs(frame[start : start + _QUERIES], times[start : start + _QUERIES], rows, input_index)
            for start in range(0, frame.height, _QUERIES)
            if len(rows := unit[start : start + _QUERIES])
        ]
        # Nothing has failed: from here on the state changes.
        self._dimension = unit.shape[1]
        if input_index == 0:
            self._next_id += frame.height
        window.add(frame, times, unit)
        for found in pairs:
            if found is not None and self._best is not None:
                self._best.add(found)
            elif found is not None:
                emissions.append(Emission(_as_given(found)))
        return emissions

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Forget records that can make no pair any more; give out the best pairs of the left ones among them."""
        self._watermark = max(time_us, self._watermark)
        self._windows[0].expire(self._watermark - self._upper)
        self._windows[1].expire(self._watermark + self._lower)
        if self._best is None:
            return ()
        done = self._best.before(self._watermark - self._upper)
        return [Emission(_as_given(done))] if done is not None else ()

    def on_end(self) -> Sequence[Emission]:
        """Give out the rest."""
        return self.on_watermark(END_OF_TIME_US)

    def watermark_behind(self, time_us: int) -> int:
        """Return the watermark of the pairs, which happened when their left record did."""
        return watermark_of_pairs(time_us, self._upper)

    def snapshot(self) -> State:
        """Return the records kept, the pairs that wait, and the watermark."""
        frames = {
            f"{name}-{number}": frame
            for name, window in zip(("left", "right"), self._windows, strict=True)
            for number, frame in enumerate(window.frames())
        }
        if self._best is not None:
            frames |= {f"best-{number}": frame for number, frame in enumerate(self._best.frames())}
        return State({"watermark": self._watermark, "next_id": self._next_id, "dimension": self._dimension}, frames)

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._watermark = int(str(state.values["watermark"]))
        self._next_id = int(str(state.values["next_id"]))
        dimension = state.values["dimension"]
        self._dimension = None if dimension is None else int(str(dimension))
        for name, frame in state.frames.items():
            if name.startswith("best"):
                assert self._best is not None
                self._best.add(frame)
            else:
                index = 0 if name.startswith("left") else 1
                side = self._sides[index]
                times = frame.select(side.time).to_series().to_numpy()
                self._windows[index].add(frame, times, self._unit(frame, side))

    def _comparable(self, frame: pl.DataFrame, times: Ints, side: VectorSide) -> tuple[pl.DataFrame, Ints]:
        """Return the records that have a vector and a key."""
        if side.on:
            frame = self._columns.with_keys(frame, side.on)
        needed = [side.vector, *self._columns.keys]
        if not any(frame.get_column(name).null_count() for name in needed):
            return frame, times
        is_there = frame.select(pl.all_horizontal(pl.col(name).is_not_null() for name in needed)).to_series()
        return frame.filter(is_there), times[is_there.to_numpy()]

    def _unit(self, frame: pl.DataFrame, side: VectorSide) -> Floats:
        try:
            unit = unit_rows(vectors_of(frame.get_column(side.vector)))
        except ValueError as error:
            raise UnprocessableError(f"field {side.vector!r}: {error}", code="unfit_vector") from error
        if self._dimension is not None and unit.shape[1] != self._dimension:
            raise UnprocessableError(
                f"field {side.vector!r} holds a vector of {unit.shape[1]} numbers, and those before have "
                f"{self._dimension}; embed both inputs with the same model",
                code="unfit_vector",
            )
        return unit

    def _pairs(self, frame: pl.DataFrame, times: Ints, unit: Floats, input_index: int) -> pl.DataFrame | None:
        """Return the pairs of these records with those of the other side; None where there is none."""
        # From the record's time to the other's.
        low, high = (-self._upper, -self._lower) if input_index else (self._lower, self._upper)
        buckets = self._windows[1 - input_index].between(int(times.min()) + low, int(times.max()) + high)
        try:
            found = similar_pairs(
                self._search, [bucket.vectors for bucket in buckets], unit, self._threshold, MAX_PAIRS
            )
        except TooManyPairsError as error:
            raise UnprocessableError(
                f"a batch of {frame.height} records: {error}; raise 'threshold', or narrow 'within'",
                code="too_many_pairs",
            ) from error
        if not len(found.scores):
            return None
        other_times = _times_of(buckets, found.stores, found.rows)
        our_times = times[found.queries]
        fits = (other_times >= our_times + low) & (other_times <= our_times + high)
        if not fits.any():
            return None
        others = _take(buckets, found.stores[fits], found.rows[fits])
        ours = frame[found.queries[fits]]
        left, right = (others, ours) if input_index else (ours, others)
        left_times, right_times = (other_times, our_times) if input_index else (our_times, other_times)
        pairs = self._columns.pairs_of(left, right).hstack(
            [
                pl.Series(self._similarity, found.scores[fits]),
                pl.Series(LEFT_TIME, left_times[fits]),
                pl.Series(RIGHT_TIME, right_times[fits]),
            ]
        )
        for key in self._columns.keys:
            pairs, left, right = _where_equal(pairs, left, right, key)
        return pairs if pairs.height else None


def _as_given(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return pairs without what is kept beside a record."""
    kept = {LEFT_ID, LEFT_TIME, RIGHT_TIME}
    return pl.DataFrame([column for column in pairs.get_columns() if column.name not in kept])


def _where_equal(
    pairs: pl.DataFrame, left: pl.DataFrame, right: pl.DataFrame, key: str
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    same = left.get_column(key) == right.get_column(key)
    return (pairs, left, right) if same.all() else (pairs.filter(same), left.filter(same), right.filter(same))


def _times_of(buckets: Sequence[TimeBucket], numbers: Ints, rows: Ints) -> Ints:
    times = np.empty(len(rows), dtype=np.int64)
    for number in distinct(numbers):
        chosen: npt.NDArray[np.bool_] = numbers == number
        times[chosen] = buckets[number].times()[rows[chosen]]
    return times


def _take(buckets: Sequence[TimeBucket], numbers: Ints, rows: Ints) -> pl.DataFrame:
    """Return rows of buckets, which are in the order of ``numbers``."""
    present = distinct(numbers)
    if len(present) == 1:
        return buckets[present[0]].take(rows)
    order = np.argsort(numbers, kind="stable")
    frames = [buckets[number].take(rows[numbers == number]) for number in present]
    ordered: pl.DataFrame = pl.concat(frames)[np.argsort(order, kind="stable")]
    return ordered
