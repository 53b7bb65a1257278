"""Pace of engines and rate of work, as decayed means."""

from __future__ import annotations

from math import exp


class Pace:
    """Seconds that a request takes for each of its tokens, as a decayed ratio of sums.

    It is the speed of one request, not the engine's throughput: throughput grows with load, and balancing by it would
    send most work to the engine with the most load. With few samples the estimate is close to the pool's pace.

    Args:
        prior_tokens: weight of the pool's pace against the engine's own.
        memory_requests: requests after which an old one counts 1/e.
    """

    __slots__ = ("_keep", "_prior", "_seconds", "_tokens")

    def __init__(self, prior_tokens: float = 4096.0, memory_requests: float = 100.0) -> None:
        self._prior = prior_tokens
        self._keep = 1 - 1 / memory_requests
        self._seconds = 0.0
        self._tokens = 0.0

    def record(self, tokens: int, seconds: float) -> None:
        """Add a finished request: its tokens, and its seconds from dispatch to end."""
        self._seconds = self._seconds * self._keep + seconds
        self._tokens = self._tokens * self._keep + tokens

    def seconds_per_token(self, pool: float) -> float:
        """Return the estimate; ``pool`` is the pool's pace in seconds per token."""
        return (self._seconds + self._prior * pool) / (self._tokens + self._prior)


class DecayedRate:
    """Work of the recent past, by exponential decay: after ``window_seconds`` it counts 1/e."""

    __slots__ = ("_at", "_since", "_sum", "_window")

    def __init__(self, window_seconds: float = 10.0) -> None:
        self._window = window_seconds
        self._sum = 0.0
        self._at: float | None = None
        self._since = 0.0

    def add(self, work: float, now: float) -> None:
        """Add ``work`` done at ``now``."""
        at = self._at
        if at == now:
            self._sum += work
            return
        if at is None:
            self._since = now
            self._sum = work
        else:
            self._sum = self._sum * exp((at - now) / self._window) + work
        self._at = now

    def total(self, now: float) -> float:
        """Return the sum of what was added, as it counts at ``now``."""
        return 0.0 if self._at is None else self._sum * exp((self._at - now) / self._window)

    def per_second(self, now: float) -> float:
        """Return the rate; 0 when no work was done."""
        if self._at is None:
            return 0.0
        # What was seen counts as the sum does: less the older it is. With a floor against division by almost nothing.
        seen = max(0.5, self._window * (1.0 - exp((self._since - now) / self._window)))
        return self.total(now) / seen
