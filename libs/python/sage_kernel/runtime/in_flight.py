"""The records that are on their way through an asynchronous operator, and the watermarks behind them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from sage_kernel.runtime.elements import Watermark


class FailedSlice(NamedTuple):
    """Records that the operator cannot process, and why."""

    frame: pl.DataFrame
    error: Exception


class CallOutcome(NamedTuple):
    """What became of a call's records."""

    result: pl.DataFrame
    failed: Sequence[FailedSlice] = ()


@dataclass(eq=False)
class Call:
    """Records on their way; ``outcome`` is there when they are done and wait for their turn."""

    frame: pl.DataFrame
    outcome: CallOutcome | None = field(default=None)


class InFlight:
    """Calls in the order in which they began, and watermarks between them.

    What has left is forgotten, so that one slow call among thousands keeps nothing but itself.
    """

    def __init__(self) -> None:
        self._entries: deque[Call | Watermark] = deque()
        self.calls = 0

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, frame: pl.DataFrame) -> Call:
        """Add a call."""
        call = Call(frame)
        self._entries.append(call)
        self.calls += 1
        return call

    def add_watermark(self, watermark: Watermark) -> None:
        """Add a watermark behind the calls so far. One directly behind another takes its place."""
        if self._entries and isinstance(self._entries[-1], Watermark):
            self._entries.pop()
        self._entries.append(watermark)

    def finish(self, call: Call) -> None:
        """Take out a call whose outcome has left, wherever it stands."""
        self._entries.remove(call)  # as many as there are calls at once, at most
        self.calls -= 1

    def next_watermark(self) -> Watermark | None:
        """Take out the watermark at the front, if there is one: all records before it have left."""
        if self._entries and isinstance(self._entries[0], Watermark):
            return self._entries.popleft()  # type: ignore[return-value]
        return None

    def first_done(self) -> Call | None:
        """Return the call at the front if it is done."""
        first = self._entries[0] if self._entries else None
        return first if isinstance(first, Call) and first.outcome is not None else None

    def elements(self) -> list[pl.DataFrame | Watermark]:
        """Return the records and watermarks that have not left, in order."""
        return [entry.frame if isinstance(entry, Call) else entry for entry in self._entries]
