"""Clusters of records that come one after the other: each joins the nearest cluster that there is, or begins one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.event_time.event_times import checked_times
from sage_kernel.nodes import LATE_PORT
from sage_kernel.operator import Emission, State
from sage_kernel.runtime.elements import END_OF_TIME_US, START_OF_TIME_US
from sage_kernel.vector_columns import vectors_of
from sage_libs.quantization import Floats, unit_rows

# A column that a record has while it waits; a field's name has no colon.
TIME = ":time"


class Centroids:
    """The clusters that records may still join, by the sum of their members' unit vectors.

    Args:
        within_us: a cluster that no record has joined for longer is joined no more.
        most: how many are kept.
    """

    def __init__(self, within_us: int, most: int) -> None:
        self._within = within_us
        self._most = most
        self._numbers: list[int] = []
        self._last: list[int] = []
        # Rows beyond those of the numbers are room for further ones.
        self._sums = np.empty((0, 0), dtype=np.float32)
        self._unit = np.empty((0, 0), dtype=np.float32)
        self.next_number = 1

    def join(self, vector: Floats, time_us: int, threshold: float) -> int:
        """Return the number of the cluster that a unit vector (d,) joins: the nearest, or a new one."""
        count = len(self._numbers)
        if count:
            similarities = self._unit[:count] @ vector
            nearest = int(similarities.argmax())
            if similarities[nearest] >= threshold:
                self._place(nearest, self._sums[nearest] + vector)
                self._last[nearest] = time_us
                return self._numbers[nearest]
        if count >= self._most:
            raise UnprocessableError(
                f"more than {self._most} clusters are open; lower 'threshold', shorten 'within', or raise "
                "'max_clusters'",
                code="too_many_clusters",
            )
        self._begin(self.next_number, vector, time_us)
        self.next_number += 1
        return self._numbers[-1]

    def expire(self, time_us: int) -> None:
        """Forget the clusters that a record of this time cannot join."""
        kept = [at for at, last in enumerate(self._last) if last >= time_us - self._within]
        if len(kept) < len(self._last):
            self._sums, self._unit = self._sums[kept], self._unit[kept]
            self._numbers = [self._numbers[at] for at in kept]
            self._last = [self._last[at] for at in kept]

    def frame(self) -> pl.DataFrame:
        """Return them as records."""
        sums = self._sums[: len(self._numbers)].astype(np.float64).tolist()
        columns = {"number": self._numbers, "last": self._last, "sum": sums}
        return pl.DataFrame(columns, schema={"number": pl.Int64, "last": pl.Int64, "sum": pl.List(pl.Float64)})

    def take(self, frame: pl.DataFrame) -> None:
        """Take up what ``frame`` gave."""
        for number, last, values in frame.iter_rows():
            self._begin(number, np.asarray(values, dtype=np.float32), last)

    def _begin(self, number: int, vector: Floats, time_us: int) -> None:
        count = len(self._numbers)
        if count >= len(self._sums):
            room = np.empty((max(16, count), len(vector)), dtype=np.float32)
            self._sums = np.concatenate([self._sums, room]) if count else room
            self._unit = np.concatenate([self._unit, room]) if count else room.copy()
        self._numbers.append(number)
        self._last.append(time_us)
        self._place(count, vector)

    def _place(self, at: int, total: Floats) -> None:
        self._sums[at] = total
        length = float(np.linalg.norm(total))
        self._unit[at] = total / length if length > 0 else total


class LeaderClusters:
    """A stateful operator that numbers the cluster of each record, in the order of event time.

    A record waits until no earlier one is expected, so the numbers do not depend on the order in which records arrive;
    of one time the first to arrive is first. A record before the watermark is late.

    Args:
        vector: field with the vector.
        into: field that gets the number.
        time: a record's event time in microseconds.
        time_field: the field that has it.
        threshold: least cosine similarity to the mean of a cluster's members.
        within_us: a cluster that no record has joined for longer is joined no more.
        max_clusters: most that are kept.
    """

    def __init__(
        self,
        vector: str,
        into: str,
        time: pl.Expr,
        time_field: str,
        threshold: float,
        within_us: int,
        max_clusters: int,
    ) -> None:
        self._vector = vector
        self._into = into
        self._time = time
        self._time_field = time_field
        self._threshold = threshold
        self._clusters = Centroids(within_us, max_clusters)
        self._waiting: list[pl.DataFrame] = []
        self._dimension: int | None = None
        self._watermark = START_OF_TIME_US

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Keep the records until those before them are there. Raises UnprocessableError for an unfit vector."""
        times = checked_times(frame, self._time, self._time_field)
        frame = frame.hstack([times.cast(pl.Int64).alias(TIME)])
        is_late = frame.get_column(TIME) < self._watermark
        late, frame = frame.filter(is_late), frame.filter(~is_late)
        self._check(frame.get_column(self._vector).drop_nulls())
        if frame.height:
            self._waiting.append(frame)
        return [Emission(late.drop(TIME), LATE_PORT)] if late.height else ()

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Number the records before the watermark."""
        self._watermark = max(time_us, self._watermark)
        if not self._waiting:
            return ()
        records = pl.concat(self._waiting).sort(TIME, maintain_order=True)
        is_due = records.get_column(TIME) < self._watermark
        due, rest = records.filter(is_due), records.filter(~is_due)
        if not due.height:
            self._waiting = [records]
            return ()
        numbers = self._numbers(due)
        self._waiting = [rest] if rest.height else []
        return [Emission(due.drop(TIME).with_columns(numbers))]

    def on_end(self) -> Sequence[Emission]:
        """Number the rest."""
        return self.on_watermark(END_OF_TIME_US)

    def snapshot(self) -> State:
        """Return the records that wait, the clusters, and the watermark."""
        values = {"watermark": self._watermark, "next": self._clusters.next_number, "dimension": self._dimension}
        waiting = {f"waiting-{number:06}": frame for number, frame in enumerate(self._waiting)}
        return State(values, {"clusters": self._clusters.frame(), **waiting})

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._watermark = int(str(state.values["watermark"]))
        dimension = state.values["dimension"]
        self._dimension = None if dimension is None else int(str(dimension))
        self._clusters.take(state.frames["clusters"])
        self._clusters.next_number = int(str(state.values["next"]))
        self._waiting = [state.frames[name] for name in sorted(state.frames) if name.startswith("waiting-")]

    def _numbers(self, due: pl.DataFrame) -> pl.Series:
        """Return the cluster of each record; null for one without a vector."""
        column = due.get_column(self._vector)
        there = column.is_not_null()
        unit = iter(unit_rows(vectors_of(column.filter(there))) if there.any() else ())
        numbers: list[int | None] = []
        for has_vector, time in zip(there, due.get_column(TIME), strict=True):
            if not has_vector:
                numbers.append(None)
                continue
            self._clusters.expire(time)
            numbers.append(self._clusters.join(next(unit), time, self._threshold))
        return pl.Series(self._into, numbers, dtype=pl.Int64)

    def _check(self, vectors: pl.Series) -> None:
        if not len(vectors):
            return
        try:
            dimension = unit_rows(vectors_of(vectors)).shape[1]
        except ValueError as error:
            raise UnprocessableError(f"field {self._vector!r}: {error}", code="unfit_vector") from error
        if self._dimension not in (None, dimension):
            raise UnprocessableError(
                f"field {self._vector!r} holds a vector of {dimension} numbers, and those before have "
                f"{self._dimension}; embed all records with the same model",
                code="unfit_vector",
            )
        self._dimension = dimension
