"""Session windows: partial results by key and session, which grow together until the watermark closes them."""

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
_FIRST = ":first"
_LAST = ":last"
_SESSION = ":session"
_ROW = ":row"
_STALE = ":stale"
# Where at least so many sessions are held for each that may have to be given out, only those of its key are merged.
_STALE_SHARE = 4


class SessionWindows:
    """A stateful operator that groups records by key and session.

    Records at most the gap apart are in one session, ``[first, last + gap)``. A record exactly at its end extends it,
    so a session is given out when the watermark has passed its end and the lateness allowed. A record that would make
    a session that has been given out, and that touches no open one, leaves by the output ``late``.

    Args: as those of ``PanedWindows``.
    """

    def __init__(
        self, combiner: Combiner, window: WindowSpec, key: Sequence[str], time: pl.Expr, time_field: str
    ) -> None:
        self._combiner = combiner
        self._gap = window.gap_us
        # A session whose last record lies this far behind the watermark, or less, is open.
        self._patience = window.gap_us + window.lateness_us
        self._delay = window.lateness_us + 1
        self._key = list(key)
        self._time = time
        self._time_field = time_field
        self._sessions = PartialFrames(self._merge)
        self._watermark = START_OF_TIME_US
        # The last record of every session is at this time or later.
        self._earliest_last = END_OF_TIME_US

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Put records into sessions; return those that are late."""
        times = checked_times(frame, self._time, self._time_field)
        earliest = times.min()
        if not isinstance(earliest, int):
            return ()
        late: Sequence[Emission] = ()
        if earliest + self._patience < self._watermark:
            is_late = self._late(frame)
            if is_late.any():
                late = (Emission(frame.filter(is_late), LATE_PORT),)
                frame = frame.filter(~is_late)
                if not frame.height:
                    return late
        self._sessions.add(self._sessions_of(frame))
        self._earliest_last = min(self._earliest_last, earliest)
        return late

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Give out the sessions that ``time_us`` closes."""
        self._watermark = max(time_us, self._watermark)
        if self._earliest_last + self._patience >= self._watermark or not self._sessions.rows:
            return ()
        sessions, others = self._merged_where_stale()
        is_closed = pl.col(_LAST) + self._patience < self._watermark
        closed, rest = sessions.filter(is_closed), sessions.filter(~is_closed)
        if others is not None:
            rest = pl.concat([others, rest], how="vertical")
        self._sessions.replace(rest, is_merged=others is None)
        earliest = rest.get_column(_LAST).min()
        self._earliest_last = earliest if isinstance(earliest, int) else END_OF_TIME_US
        if not closed.height:
            return ()
        output = in_order(closed, [_FIRST, *self._key]).select(
            *self._key, window_field(pl.col(_FIRST), pl.col(_LAST) + self._gap), *self._combiner.finish()
        )
        return (Emission(output),)

    def on_end(self) -> Sequence[Emission]:
        """Give out the rest."""
        return self.on_watermark(END_OF_TIME_US)

    def watermark_behind(self, time_us: int) -> int:
        """Return the watermark of what is given out: a session comes when its end and the lateness have passed."""
        return time_us if time_us >= END_OF_TIME_US else time_us - self._delay

    def partials(self) -> pl.DataFrame | None:
        """Return the sessions, each once."""
        return self._sessions.merged() if self._sessions.rows else None

    def absorb(self, partials: pl.DataFrame) -> None:
        """Take the sessions of another operator."""
        self._sessions.add(partials)
        earliest = partials.get_column(_LAST).min()
        if isinstance(earliest, int):
            self._earliest_last = min(self._earliest_last, earliest)

    def snapshot(self) -> State:
        """Return the sessions and the watermark."""
        sessions = self._sessions.all()
        values = {"watermark": self._watermark, "earliest_last": self._earliest_last}
        return State(values, {} if sessions is None else {"sessions": sessions})

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._watermark = int(str(state.values["watermark"]))
        self._earliest_last = int(str(state.values["earliest_last"]))
        self._sessions.replace(state.frames.get("sessions"), is_merged=False)

    def _sessions_of(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return the sessions that records make among themselves."""
        timed = records.with_columns(self._time.alias(_FIRST)).sort(*self._key, _FIRST, maintain_order=True)
        begins = self._key_changes() | (pl.col(_FIRST).diff() > self._gap).fill_null(True)
        numbered = timed.with_columns(begins.cum_sum().alias(_SESSION))
        carry = [pl.col(self._key).first(), pl.col(_FIRST).min(), pl.col(_FIRST).max().alias(_LAST)]
        return self._combiner.partial(numbered, [_SESSION], carry).drop(_SESSION)

    def _numbered(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """Return ``sessions`` sorted, with a number that those share that have grown together."""
        ordered = sessions.sort(*self._key, _FIRST, maintain_order=True)
        ordered = ordered.with_columns(self._key_changes().cum_sum().alias(_SESSION))
        reach = pl.col(_LAST).cum_max().over(_SESSION)
        begins = (pl.col(_SESSION).diff() != 0) | (pl.col(_FIRST) - reach.shift(1) > self._gap)
        return ordered.with_columns(begins.fill_null(True).cum_sum().alias(_SESSION))

    def _merged_where_stale(self) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Return the merged sessions of the keys where one may have to be given out, and those of other keys as they
        are: small batches must not merge a large state again and again. None where everything was merged."""
        held = self._sessions.all()
        assert held is not None
        stale = held.filter(pl.col(_LAST) + self._patience < self._watermark)
        if not self._key or held.height < _STALE_SHARE * stale.height:
            return self._sessions.merged(), None
        keys = stale.select(self._key).unique()
        touched = held.join(keys, on=self._key, how="semi", nulls_equal=True)
        return self._merge(touched), held.join(keys, on=self._key, how="anti", nulls_equal=True)

    def _merge(self, sessions: pl.DataFrame) -> pl.DataFrame:
        carry = [pl.col(self._key).first(), pl.col(_FIRST).min(), pl.col(_LAST).max()]
        return self._combiner.merge(self._numbered(sessions), [_SESSION], carry).drop(_SESSION)

    def _key_changes(self) -> pl.Expr:
        if not self._key:
            return pl.int_range(pl.len()) == 0
        return pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in self._key) | (
            pl.int_range(pl.len()) == 0
        )

    def _late(self, frame: pl.DataFrame) -> pl.Series:
        """Return for each record whether its session, grown together with all others, has been given out."""
        rows = frame.select(*self._key, self._time.alias(_FIRST)).with_columns(
            pl.col(_FIRST).alias(_LAST), pl.int_range(pl.len(), dtype=pl.Int64).alias(_ROW)
        )
        held = self._sessions.all()
        if held is not None:
            open_sessions = held.select(*self._key, _FIRST, _LAST, pl.lit(None, pl.Int64).alias(_ROW))
            rows = pl.concat([open_sessions, rows], how="vertical")
        numbered = self._numbered(rows).with_columns(
            (pl.col(_LAST).max().over(_SESSION) + self._patience < self._watermark).alias(_STALE)
        )
        return numbered.filter(pl.col(_ROW).is_not_null()).sort(_ROW).get_column(_STALE)
