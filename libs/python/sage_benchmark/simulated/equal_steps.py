"""A stretch of engine steps that all take the same time, because the batch does not change within it."""

from __future__ import annotations

NANOSECONDS = 1_000_000_000


class EqualSteps:
    """``count`` steps of ``length`` nanoseconds from ``start`` on. Nothing is under way while ``count`` is 0.

    Attributes:
        chunk: nanoseconds of prompt work in each.
        reported: steps whose tokens have been reported one by one.
    """

    __slots__ = ("chunk", "count", "length", "reported", "start")

    def __init__(self) -> None:
        self.start = 0
        self.count = 0
        self.length = 1
        self.chunk = 0
        self.reported = 0

    @property
    def end(self) -> int:
        """When the last of them is done."""
        return self.start + self.count * self.length

    def seconds(self, step: int) -> float:
        """When the ``step``-th of them is done, in seconds."""
        return (self.start + step * self.length) / NANOSECONDS

    def done(self, now: int) -> int:
        """Whole steps that have passed."""
        if now <= self.start:
            return 0
        return min(self.count, (now - self.start) // self.length)

    def begin(self, start: int, count: int, length: int, chunk: int) -> None:
        """A new stretch."""
        self.start = start
        self.count = count
        self.length = length
        self.chunk = chunk
        self.reported = 0

    def drop(self, steps: int) -> None:
        """The first ``steps`` have been accounted for; what is left starts after them."""
        self.start += steps * self.length
        self.count -= steps
        self.reported = max(0, self.reported - steps)
