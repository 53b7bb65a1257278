"""A join of a stream with a bounded table: the table is read first, whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.event_time.join_sides import JoinColumns
from sage_kernel.event_time.timed_index import TimedIndex
from sage_kernel.operator import Emission, State

TABLE_INPUT = 1


class LookupJoin:
    """A stateful operator that gives out a record with each row of the table that has its key.

    The runtime hands on the stream when the table has ended (``held_inputs``).

    Args:
        columns: what a pair is made of.
        right_types: the type of a row of the table.
        max_rows: most rows of the table.
        keeps_unmatched: give out records without a row too.
    """

    def __init__(
        self, columns: JoinColumns, right_types: Mapping[str, pl.DataType], max_rows: int, *, keeps_unmatched: bool
    ) -> None:
        self._columns = columns
        self._right_types = right_types
        self._max_rows = max_rows
        self._keeps_unmatched = keeps_unmatched
        self._table = TimedIndex(columns.keys, 0)

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Keep rows of the table, or look up records. Raises UnprocessableError for a table that is too large."""
        if input_index == TABLE_INPUT:
            rows = self._columns.with_keys(frame, self._columns.right_on)
            rows = rows.filter(self._columns.is_keyed(rows))
            if self._table.rows + rows.height > self._max_rows:
                raise UnprocessableError(
                    f"the table has more than {self._max_rows} rows; raise 'max_rows', or filter the table before it"
                )
            self._table.add(rows, _no_time(rows))
            return ()
        keyed = self._columns.with_keys(frame, self._columns.left_on)
        is_keyed = self._columns.is_keyed(keyed)
        probe = keyed.filter(is_keyed)
        is_matched = np.zeros(probe.height, np.bool_)
        emissions = []
        for probe_rows, run, rows_found in self._table.search(probe, _no_time(probe), _no_time(probe)):
            is_matched[probe_rows] = True
            emissions.append(Emission(self._columns.pairs(probe, probe_rows, run.frame, rows_found)))
        if self._keeps_unmatched:
            alone = pl.concat([keyed.filter(~is_keyed), probe.filter(~pl.Series(is_matched, dtype=pl.Boolean))])
            emissions.append(Emission(self._columns.unmatched(alone, self._right_types)))
        return emissions

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Nothing waits for a time."""
        return ()

    def on_end(self) -> Sequence[Emission]:
        """Nothing is left."""
        return ()

    def snapshot(self) -> State:
        """Return the table."""
        return State({}, {f"table-{number}": run.frame for number, run in enumerate(self._table.runs)})

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        for frame in state.frames.values():
            self._table.add(frame, _no_time(frame))


def _no_time(frame: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.zeros(frame.height, np.int64)
