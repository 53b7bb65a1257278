"""What the joins in event time share: which records are late, and when a pair happened."""

from __future__ import annotations

import polars as pl

from sage_kernel.event_time.timed_index import Ints
from sage_kernel.operator import Emission
from sage_kernel.runtime.elements import END_OF_TIME_US

LATE_LEFT, LATE_RIGHT = "late_left", "late_right"


def without_late(
    frame: pl.DataFrame, times: Ints, watermark_us: int, input_index: int
) -> tuple[pl.DataFrame, Ints, list[Emission]]:
    """Return the records that are not late, their event times, and what is given out of the late ones."""
    is_late = times < watermark_us
    if not is_late.any():
        return frame, times, []
    late = pl.Series(is_late)
    given = Emission(frame.filter(late), LATE_RIGHT if input_index else LATE_LEFT)
    return frame.filter(~late), times[~is_late], [given]


def watermark_of_pairs(time_us: int, upper_us: int) -> int:
    """Return the watermark of the pairs, which happened when their left record did.

    Args:
        time_us: the watermark of the records.
        upper_us: how much later the right record of a pair may be at most.
    """
    return time_us if time_us >= END_OF_TIME_US else time_us - max(upper_us, 0)
