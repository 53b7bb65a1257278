"""Which window an event time belongs to. Windows are half-open, ``[start, end)``, and exist before 1970 too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class WindowSpec:
    """How records are grouped in time.

    Attributes:
        kind: ``tumbling`` windows lie side by side, ``sliding`` ones overlap, a ``session`` ends with a gap.
        size_us: length in microseconds; 0 for sessions.
        slide_us: from one start to the next; ``size_us`` for tumbling windows, 0 for sessions.
        gap_us: a session goes on while the next record is at most this far from the last; 0 otherwise.
        offset_us: what starts are shifted by, from multiples of the slide since 1970-01-01 UTC.
        lateness_us: how long after its end a window still takes records.
    """

    kind: Literal["tumbling", "sliding", "session"]
    size_us: int = 0
    slide_us: int = 0
    gap_us: int = 0
    offset_us: int = 0
    lateness_us: int = 0
