"""The records of one input of a similarity join, with their vectors, in buckets of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from sage_kernel.event_time.timed_index import Ints
from sage_libs.quantization import Floats
from sage_libs.vector_pairs import PairSearch, StoredVectors, distinct


class TimeBucket:
    """Records of one stretch of time. Rows are numbered as they come."""

    def __init__(self, vectors: StoredVectors) -> None:
        self.vectors = vectors
        self._frames: list[pl.DataFrame] = []
        self._starts: list[int] = []
        self._times: list[Ints] = []

    def add(self, frame: pl.DataFrame, times: Ints, unit: Floats) -> None:
        """Add records with these times and unit vectors (m, d)."""
        self._starts.append(len(self.vectors))
        self.vectors.append(unit)
        self._frames.append(frame)
        self._times.append(times)

    def times(self) -> Ints:
        """Return the event times of all rows, in microseconds."""
        if len(self._times) > 1:
            self._times = [np.concatenate(self._times)]
        return self._times[0]

    def take(self, rows: Ints) -> pl.DataFrame:
        """Return rows as a frame. Copies no more than them."""
        parts = np.searchsorted(self._starts, rows, "right") - 1
        pieces: list[pl.DataFrame] = [
            self._frames[part][rows[parts == part] - self._starts[part]] for part in distinct(parts)
        ]
        if len(pieces) == 1:
            return pieces[0]
        order = np.argsort(parts, kind="stable")
        ordered: pl.DataFrame = pl.concat(pieces)[np.argsort(order, kind="stable")]
        return ordered

    def frame(self) -> pl.DataFrame:
        """Return all rows, without copying them."""
        return pl.concat(self._frames, rechunk=False)


class VectorWindow:
    """Records by time. A bucket that nothing can need any more goes as a whole, whatever it holds.

    Args:
        search: makes the store of a bucket.
        bucket_us: how much time a bucket spans.
    """

    def __init__(self, search: PairSearch, bucket_us: int) -> None:
        self._search = search
        self._bucket_us = bucket_us
        self._buckets: dict[int, TimeBucket] = {}
        self.rows = 0

    def add(self, frame: pl.DataFrame, times: Ints, unit: Floats) -> None:
        """Add records with these times and unit vectors (m, d)."""
        numbers = times // self._bucket_us
        for number in distinct(numbers):
            bucket = self._buckets.get(number)
            if bucket is None:
                bucket = self._buckets[number] = TimeBucket(self._search.store(unit.shape[1]))
            chosen = numbers == number
            if chosen.all():
                bucket.add(frame, times, unit)
            else:
                bucket.add(frame.filter(pl.Series(chosen)), times[chosen], unit[chosen])
        self.rows += len(times)

    def between(self, first_us: int, last_us: int) -> Sequence[TimeBucket]:
        """Return the buckets that may hold records from ``first_us`` to ``last_us``, in order of time."""
        first, last = first_us // self._bucket_us, last_us // self._bucket_us
        return [self._buckets[number] for number in sorted(self._buckets) if first <= number <= last]

    def expire(self, before_us: int) -> None:
        """Forget buckets of which every record lies before this time."""
        for number in [one for one in self._buckets if (one + 1) * self._bucket_us <= before_us]:
            self.rows -= len(self._buckets.pop(number).vectors)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the records, a frame a bucket."""
        for number in sorted(self._buckets):
            yield self._buckets[number].frame()
