"""How fast engines are, learned from what they finish."""

from __future__ import annotations

import math


class Pace:
    """Seconds that a request takes for each of its tokens, as a decayed ratio of sums.

    It is a request's own speed, not the engine's throughput: throughput grows with load, and balancing by it would
    send the most work to whoever has the most already. Until much is known, the estimate leans on the pool's.

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
        """A request of this size took so long, from dispatch to end."""
        self._seconds = self._seconds * self._keep + seconds
        self._tokens = self._tokens * self._keep + tokens

    def seconds_per_token(self, pool: float) -> float:
        """Return the estimate; ``pool`` is the pool's pace in seconds per token."""
        return (self._seconds + self._prior * pool) / (self._tokens + self._prior)


class DecayedRate:
    """Work per second over the recent past, by exponential decay."""

    __slots__ = ("_at", "_since", "_sum", "_window")

    def __init__(self, window_seconds: float = 10.0) -> None:
        self._window = window_seconds
        self._sum = 0.0
        self._at: float | None = None
        self._since = 0.0

    def add(self, work: float, now: float) -> None:
        """``work`` was done just now."""
        if self._at is None:
            self._at = self._since = now
        self._sum = self._sum * self._kept(now) + work
        self._at = now

    def per_second(self, now: float) -> float:
        """Return the rate; 0 when nothing was done."""
        if self._at is None:
            return 0.0
        # A window that has not filled yet is as long as what has been seen of it, but not so short as to explode.
        seen = max(0.5, min(self._window, now - self._since))
        return self._sum * self._kept(now) / seen

    def _kept(self, now: float) -> float:
        elapsed = now - (self._at if self._at is not None else now)
        return math.exp(-elapsed / self._window)
