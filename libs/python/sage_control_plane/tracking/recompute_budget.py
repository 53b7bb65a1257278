"""A budget of recomputed tokens, a share of those processed recently: interruptions must not eat up the work."""

from __future__ import annotations

from math import exp

# Tokens that an interruption is expected to cost before there was one; interruptions of which the mean is taken.
FIRST_COST = 500.0
COSTS_REMEMBERED = 20.0


class RecomputeBudget:
    """Processed tokens deposit a share of themselves; each interruption withdraws what it makes an engine recompute.

    Both sides fade alike, so what counts is the share within about ``window_seconds``.

    Args:
        ratio: tokens that may be recomputed for each token processed, e.g. 0.05.
        window_seconds: how long tokens count; after this time a token weighs 1/e.
        floor: tokens that may be recomputed within the window whatever the traffic, so that a pool that has just
            started, or finishes nothing for a long time, can interrupt at all.
    """

    __slots__ = ("_at", "_cost", "_floor", "_processed", "_ratio", "_since", "_spent", "_window_seconds")

    def __init__(self, ratio: float = 0.05, window_seconds: float = 300.0, floor: float = 1000.0) -> None:
        self._ratio = ratio
        self._window_seconds = window_seconds
        self._floor = floor
        self._processed = 0.0
        self._spent = 0.0
        self._cost = FIRST_COST
        self._at: float | None = None
        self._since = 0.0

    def deposit(self, tokens: float, now: float) -> None:
        """Count processed tokens of prompt and answer; ``now`` is in seconds."""
        self._fade(now)
        self._processed += tokens

    def withdraw(self, tokens: float, now: float, running: float = 0.0) -> bool:
        """Pay for recomputing ``tokens``; return whether the budget allows it.

        Args:
            running: tokens processed so far of answers that run and are not deposited yet.
        """
        if tokens > self.left(now, running):
            return False
        self._spent += tokens
        self._cost += (tokens - self._cost) / COSTS_REMEMBERED
        return True

    def per_second(self, now: float, running: float = 0.0) -> float:
        """Return how many interruptions a second it pays for; ``running`` as for ``withdraw``."""
        left = self.left(now, running)
        if left < self._cost or not self._processed:
            return 0.0
        seen = max(1.0, self._window_seconds * (1.0 - exp((self._since - now) / self._window_seconds)))
        return self._ratio * self._processed / (seen * self._cost)

    def left(self, now: float, running: float = 0.0) -> float:
        """Return the tokens that may still be recomputed now; negative where more was than the share allows now."""
        self._fade(now)
        return self._ratio * (self._processed + running) + self._floor - self._spent

    def _fade(self, now: float) -> None:
        if self._at is None:
            self._since = now
        elif now > self._at:
            kept = exp((self._at - now) / self._window_seconds)
            self._processed *= kept
            self._spent *= kept
        self._at = now
