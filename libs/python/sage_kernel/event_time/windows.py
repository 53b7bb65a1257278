"""Which window an event time belongs to. Windows are half-open, ``[start, end)``, and exist before 1970 too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import polars as pl


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

    @property
    def pane_us(self) -> int:
        """Length of the longest pieces that every window is made of whole ones of (Li, Maier, Tufte 2005)."""
        return math.gcd(self.size_us, self.slide_us)

    def pane_start(self, time: pl.Expr) -> pl.Expr:
        """Return where the pane of an event time begins."""
        return time - (time - self.offset_us) % self.pane_us

    def last_start(self, time: pl.Expr) -> pl.Expr:
        """Return where the last window that holds an event time begins."""
        return time - (time - self.offset_us) % self.slide_us

    def last_start_of(self, time_us: int) -> int:
        """Return where the last window that holds ``time_us`` begins."""
        return time_us - (time_us - self.offset_us) % self.slide_us

    def first_close_of(self, time_us: int) -> int:
        """Return the watermark at which the first window that holds ``time_us`` is given out."""
        return self.last_start_of(time_us - self.size_us) + self.slide_us + self.size_us + self.lateness_us


def Tumbling(size: str, *, offset: str | None = None, lateness: str | None = None) -> dict[str, object]:  # noqa: N802
    """Windows of ``size`` side by side: the parameters of a ``window`` node."""
    return _parameters({"tumbling": size, "offset": offset, "lateness": lateness})


def Sliding(  # noqa: N802
    size: str, slide: str, *, offset: str | None = None, lateness: str | None = None
) -> dict[str, object]:
    """Windows of ``size``, one every ``slide``: the parameters of a ``window`` node."""
    return _parameters({"sliding": [size, slide], "offset": offset, "lateness": lateness})


def Session(gap: str, *, lateness: str | None = None) -> dict[str, object]:  # noqa: N802
    """Windows that end with a ``gap`` longer than this: the parameters of a ``window`` node."""
    return _parameters({"session": gap, "lateness": lateness})


def _parameters(given: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in given.items() if value is not None}
