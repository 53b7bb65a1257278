"""Tumbling and sliding windows: partial results by key and pane, merged into windows when the watermark closes them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sage_kernel.event_time.combiner import Combiner
from sage_kernel.event_time.event_times import checked_times
from sage_kernel.event_time.partial_frames import PartialFrames
from sage_kernel.event_time.window_output import in_order, window_field
from sage_kernel.event_time.windows import WindowSpec
from sage_kernel.nodes import LATE_PORT
from sage_kernel.operator import Emission, State
from sage_kernel.runtime.elements import END_OF_TIME_US, START_OF_TIME_US

# A field's name has no colon, so these columns meet none of the record's.
_PANE = ":pane"
_START = ":start"
_TIME = ":event_time"


class PanedWindows:
    """A stateful operator that groups records by key and window.

    A record counts in the panes that windows share, once. A window is given out when the watermark reaches its end
    and the lateness allowed; a record all of whose windows have been given out leaves by the output ``late``.

    Args:
        combiner: makes, merges and finishes partial results.
        window: a tumbling or sliding window.
        key: fields to group by, in the order of the output; may be empty.
        time: event time of a record in microseconds, from the field ``time_field``.
    """

    def __init__(
        self, combiner: Combiner, window: WindowSpec, key: Sequence[str], time: pl.Expr, time_field: str
    ) -> None:
        self._combiner = combiner
        self._window = window
        self._key = list(key)
        self._time = time
        self._time_field = time_field
        self._panes = PartialFrames(lambda frame: combiner.merge(frame, [*self._key, _PANE]))
        self._watermark = START_OF_TIME_US
        # No window is to be given out before the watermark gets here.
        self._next_close = END_OF_TIME_US

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Count records in their panes; return those that are late."""
        window = self._window
        times = checked_times(frame, self._time, self._time_field)
        earliest = times.min()
        if not isinstance(earliest, int):
            return ()
        late: Sequence[Emission] = ()
        length = window.size_us + window.lateness_us
        if window.last_start_of(earliest) + length <= self._watermark:
            is_late = frame.select(window.last_start(self._time) + length <= self._watermark).to_series()
            late = (Emission(frame.filter(is_late), LATE_PORT),)
            frame = frame.filter(~is_late)
            if not frame.height:
                return late
        panes = frame.with_columns(window.pane_start(self._time).alias(_PANE))
        self._panes.add(self._combiner.partial(panes, [*self._key, _PANE]))
        self._next_close = min(self._next_close, window.first_close_of(earliest))
        return late

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Give out the windows that ``time_us`` closes."""
        before, self._watermark = self._watermark, max(time_us, self._watermark)
        if self._watermark < self._next_close:
            return ()
        held = self._panes.all()
        if held is None:
            return ()
        window = self._window
        length = window.size_us + window.lateness_us
        pane = pl.col(_PANE)
        closed = self._in_windows(held.filter(pane < self._watermark - window.lateness_us), before)
        rest = held.filter(window.last_start(pane) + length > self._watermark)
        self._panes.replace(rest, is_merged=False)
        self._next_close = END_OF_TIME_US
        earliest = rest.get_column(_PANE).min()
        if isinstance(earliest, int):
            # Windows of the earliest pane may have been given out; looking too early costs time only.
            self._next_close = max(window.first_close_of(earliest), self._watermark + 1)
        if not closed.height:
            return ()
        merged = self._combiner.merge(closed, [*self._key, _START])
        start = pl.col(_START)
        output = in_order(merged, [_START, *self._key]).select(
            *self._key, window_field(start, start + window.size_us), *self._combiner.finish()
        )
        return (Emission(output),)

    def on_end(self) -> Sequence[Emission]:
        """Give out the rest."""
        return self.on_watermark(END_OF_TIME_US)

    def watermark_behind(self, time_us: int) -> int:
        """Return the watermark of what is given out: a window comes up to its lateness after its end."""
        return time_us if time_us >= END_OF_TIME_US else time_us - self._window.lateness_us

    def partials(self) -> pl.DataFrame | None:
        """Return the panes, each once."""
        return self._panes.merged() if self._panes.rows else None

    def absorb(self, partials: pl.DataFrame) -> None:
        """Take the panes of another operator."""
        self._panes.add(partials)
        earliest = partials.get_column(_PANE).min()
        if isinstance(earliest, int):
            self._next_close = min(self._next_close, self._window.first_close_of(earliest))

    def snapshot(self) -> State:
        """Return the panes and the watermark."""
        panes = self._panes.all()
        values = {"watermark": self._watermark, "next_close": self._next_close}
        return State(values, {} if panes is None else {"panes": panes})

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._watermark = int(str(state.values["watermark"]))
        self._next_close = int(str(state.values["next_close"]))
        self._panes.replace(state.frames.get("panes"), is_merged=False)

    def _in_windows(self, panes: pl.DataFrame, before: int) -> pl.DataFrame:
        """Return ``panes`` once for each of their windows that close after ``before`` and by now."""
        window = self._window
        length = window.size_us + window.lateness_us
        if window.slide_us == window.size_us:
            closes = pl.col(_PANE) + length
            return panes.filter(closes <= self._watermark).rename({_PANE: _START})
        count = -(-window.size_us // window.slide_us)
        copies = [
            panes.with_columns((window.last_start(pl.col(_PANE)) - number * window.slide_us).alias(_START))
            .filter(
                pl.col(_START) + window.size_us > pl.col(_PANE),
                (pl.col(_START) + length).is_between(before, self._watermark, closed="right"),
            )
            .drop(_PANE)
            for number in range(count)
        ]
        return pl.concat(copies, how="vertical")
