"""A retry budget: retries are a share of requests, so that they do not multiply an outage."""

from __future__ import annotations

# One retry, less the rounding error of adding up shares such as 0.2.
WHOLE = 1 - 1e-9


class RetryBudget:
    """Each request deposits a share of a retry; each retry withdraws a whole one.

    Args:
        ratio: retries allowed for each request, e.g. 0.2.
        floor_per_second: retries allowed each second whatever the traffic, so that a quiet system can retry.
        burst: most retries that can be saved.
    """

    __slots__ = ("_balance", "_burst", "_floor", "_floor_at", "_floor_balance", "_ratio")

    def __init__(self, ratio: float = 0.2, floor_per_second: float = 1.0, burst: float = 100.0) -> None:
        self._ratio = ratio
        self._floor = floor_per_second
        self._burst = burst
        self._balance = 0.0
        # Ten seconds of the floor can be saved.
        self._floor_balance = 10 * floor_per_second
        self._floor_at: float | None = None

    def deposit(self) -> None:
        """Add the share of an accepted request."""
        self._balance = min(self._burst, self._balance + self._ratio)

    def withdraw(self, now: float) -> bool:
        """Pay for a retry; return whether the budget allows it. ``now`` is in seconds."""
        if self._floor_at is not None:
            saved = self._floor_balance + (now - self._floor_at) * self._floor
            self._floor_balance = min(10 * self._floor, saved)
        self._floor_at = now
        if self._balance >= WHOLE:
            self._balance -= 1
        elif self._floor_balance >= WHOLE:
            self._floor_balance -= 1
        else:
            return False
        return True
