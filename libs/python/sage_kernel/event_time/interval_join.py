"""A join of two streams in event time: a left and a right record that are near enough make a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.event_time.event_times import checked_times
from sage_kernel.event_time.join_sides import JoinColumns
from sage_kernel.event_time.join_times import watermark_of_pairs, without_late
from sage_kernel.event_time.timed_index import TimedIndex
from sage_kernel.operator import Emission, State
from sage_kernel.runtime.elements import END_OF_TIME_US, START_OF_TIME_US

_MATCHED = ":matched"
# Of the pairs that one batch makes; they are held together before they go on.
MAX_PAIR_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class JoinSide:
    """One input: its key, its event time in microseconds, and the name of the field with that."""

    on: tuple[str, ...]
    time: pl.Expr
    time_field: str


class IntervalJoin:
    """A stateful operator that gives out a pair as soon as both of its records are there.

    A pair has equal keys and ``left + lower <= right <= left + upper`` in event time. A record is kept while one that
    is not late could still make a pair with it. A record before the watermark is late.

    Args:
        columns: what a pair is made of.
        sides: left and right.
        lower_us, upper_us: the interval, from the left record's time.
        right_types: the type of a right record.
        keeps_unmatched: give out left records without a right one too, when none can come any more.
    """

    def __init__(
        self,
        columns: JoinColumns,
        sides: tuple[JoinSide, JoinSide],
        lower_us: int,
        upper_us: int,
        right_types: Mapping[str, pl.DataType],
        *,
        keeps_unmatched: bool,
    ) -> None:
        self._columns = columns
        self._sides = sides
        self._lower = lower_us
        self._upper = upper_us
        self._right_types = right_types
        self._keeps_unmatched = keeps_unmatched
        width = upper_us - lower_us
        self._left, self._right = TimedIndex(columns.keys, width), TimedIndex(columns.keys, width)
        self._watermark = START_OF_TIME_US

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Give out the pairs that the records make with those of the other side, and keep them for those to come."""
        side = self._sides[input_index]
        times = checked_times(frame, side.time, side.time_field).to_numpy()
        frame, times, emissions = without_late(frame, times, self._watermark, input_index)
        frame = self._columns.with_keys(frame, side.on)
        is_keyed = self._columns.is_keyed(frame)
        if not is_keyed.all():
            if self._keeps_unmatched and input_index == 0:
                emissions.append(Emission(self._columns.unmatched(frame.filter(~is_keyed), self._right_types)))
            frame, times = frame.filter(is_keyed), times[is_keyed.to_numpy()]
        return [*emissions, *(self._from_right(frame, times) if input_index else self._from_left(frame, times))]

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Forget records that can make no pair any more; give out those without one where asked."""
        self._watermark = max(time_us, self._watermark)
        emissions = []
        if self._keeps_unmatched:
            for run in self._left.runs:
                alone = ~run.is_matched & (run.times < self._watermark - self._upper)
                if alone.any():
                    run.is_matched |= alone
                    unmatched = run.frame.filter(pl.Series(alone))
                    emissions.append(Emission(self._columns.unmatched(unmatched, self._right_types)))
        self._left.expire(self._watermark - self._upper)
        self._right.expire(self._watermark + self._lower)
        return emissions

    def on_end(self) -> Sequence[Emission]:
        """Give out the rest."""
        return self.on_watermark(END_OF_TIME_US)

    def watermark_behind(self, time_us: int) -> int:
        """Return the watermark of the pairs, which happened when their left record did."""
        return watermark_of_pairs(time_us, self._upper)

    def snapshot(self) -> State:
        """Return the records kept and the watermark."""
        frames = {}
        for name, index in (("left", self._left), ("right", self._right)):
            for number, run in enumerate(index.runs):
                # The flags change as records come: the state has them as they are now.
                frames[f"{name}-{number}"] = run.frame.with_columns(pl.Series(_MATCHED, run.is_matched.copy()))
        return State({"watermark": self._watermark}, frames)

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._watermark = int(str(state.values["watermark"]))
        for name, frame in state.frames.items():
            is_left = name.startswith("left")
            is_matched = frame.get_column(_MATCHED).to_numpy().copy()
            times = frame.select(self._sides[0 if is_left else 1].time).to_series().to_numpy()
            (self._left if is_left else self._right).add(frame.drop(_MATCHED), times, is_matched)

    def _bounded(self, emissions: list[Emission], frame: pl.DataFrame) -> None:
        made = sum(int(emission.frame.estimated_size()) for emission in emissions)
        if made > MAX_PAIR_BYTES:
            pairs = sum(emission.frame.height for emission in emissions)
            raise UnprocessableError(
                f"a batch of {frame.height} records makes more than {pairs} pairs ({made >> 20} MiB): too many records "
                "of one key are near in time; narrow 'within', or join on further fields",
                code="too_many_pairs",
            )

    def _from_left(self, frame: pl.DataFrame, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Emission]:
        is_matched = np.zeros(frame.height, np.bool_)
        emissions = []
        for probe_rows, run, rows in self._right.search(frame, times + self._lower, times + self._upper):
            is_matched[probe_rows] = True
            emissions.append(Emission(self._columns.pairs(frame, probe_rows, run.frame, rows)))
            self._bounded(emissions, frame)
        self._left.add(frame, times, is_matched)
        return emissions

    def _from_right(self, frame: pl.DataFrame, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Emission]:
        emissions = []
        for probe_rows, run, rows in self._left.search(frame, times - self._upper, times - self._lower):
            run.is_matched[rows] = True
            emissions.append(Emission(self._columns.pairs(run.frame, rows, frame, probe_rows)))
            self._bounded(emissions, frame)
        self._right.add(frame, times)
        return emissions
