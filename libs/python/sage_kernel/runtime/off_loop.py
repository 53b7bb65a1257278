"""Where a call that computes runs: on the event loop while it is short, in a thread where it would hold the loop up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sage_common.clock import Clock
from sage_kernel.foreign_errors import contained

T = TypeVar("T")
# Others on the loop, heartbeats and streamed answers among them, wait no longer than about twice this.
LONGEST_ON_LOOP_SECONDS = 0.02
# Of this size a first call is taken to be long, since nothing is known of it.
_UNKNOWN_RECORDS = 65_536
_FORGET = 0.2


class ExpectedDuration:
    """Learns what a record costs, as a moving average over calls; the policy behind ``OffLoop``."""

    def __init__(self) -> None:
        self._seconds_a_record: float | None = None

    def is_long(self, records: int) -> bool:
        """Return whether a call with so many records is expected to take too long for the event loop."""
        if self._seconds_a_record is None:
            return records >= _UNKNOWN_RECORDS
        return self._seconds_a_record * records > LONGEST_ON_LOOP_SECONDS

    def observe(self, records: int, seconds: float) -> None:
        """Take what a call with so many records took."""
        each = seconds / max(records, 1)
        known = self._seconds_a_record
        self._seconds_a_record = each if known is None else known + _FORGET * (each - known)


class OffLoop:
    """Calls functions, and measures them.

    Args:
        spent: takes the seconds of each call.
    """

    def __init__(self, clock: Clock, spent: Callable[[float], None]) -> None:
        self._clock = clock
        self._spent = spent
        self._expected: dict[str, ExpectedDuration] = {}

    async def call(self, kind: str, records: int, function: Callable[[], T]) -> T:
        """Return what ``function`` returns, or raise as ``contained`` does.

        Calls of one ``kind`` tell how long the next one of it takes.
        """
        expected = self._expected.setdefault(kind, ExpectedDuration())
        started = self._clock.now()
        try:
            if expected.is_long(records):
                return await asyncio.to_thread(contained, function)
            return contained(function)
        finally:
            seconds = self._clock.now() - started
            self._spent(seconds)
            expected.observe(records, seconds)
