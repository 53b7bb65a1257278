"""When a record happened, as a number: microseconds since 1970-01-01 UTC."""

from __future__ import annotations

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.stream_type import StreamType

# The field that an aggregate over windows adds: {start, end}. It is the event time of what the window has become.
WINDOW = "window"
# Beyond it, the limits of a window would not fit into 64 bits.
_FURTHEST_US = 2**61


def event_time_us(stream: StreamType) -> pl.Expr | None:
    """Return the event time of a record of ``stream``; None where its records have none.

    The event time of a window is its last microsecond, ``end`` - 1 µs: it lies inside the window, so a following
    window of the same size holds it.
    """
    if stream.event_time is None:
        return None
    field = pl.col(stream.event_time)
    if isinstance(stream.fields.get(stream.event_time), pl.Struct):
        return field.struct.field("end").to_physical() - 1
    return field.to_physical()


def checked_times(frame: pl.DataFrame, time: pl.Expr, field: str) -> pl.Series:
    """Return the event times of ``frame``. Raises UnprocessableError where one is null."""
    times = frame.select(time.alias(field)).to_series()
    if times.null_count():
        raise UnprocessableError(f"a record has no event time (field {field!r} is null)")
    least, greatest = times.min(), times.max()
    if isinstance(least, int) and isinstance(greatest, int) and not -_FURTHEST_US < least <= greatest < _FURTHEST_US:
        raise UnprocessableError(f"a record's event time is more than 70,000 years from 1970 (field {field!r})")
    return times
