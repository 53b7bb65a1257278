"""A budget of recomputed tokens, a share of those processed recently: interruptions must not eat up the work."""

from __future__ import annotations

from sage_control_plane.prediction.pace import DecayedRate

# Interruptions, or requests, of which the mean size is taken.
SIZES_REMEMBERED = 20.0


class RecomputeBudget:
    """Processed tokens deposit a share of themselves; each interruption withdraws what it makes an engine recompute.

    Both sides fade alike, so what counts is the share within about ``window_seconds``.

    Args:
        ratio: tokens that may be recomputed for each token processed, e.g. 0.05.
        window_seconds: how long tokens count; after this time a token weighs 1/e.
        floor: tokens that may be recomputed within the window whatever the traffic, so that a pool that has just
            started, or finishes nothing for a long time, can interrupt at all.
    """

    __slots__ = (
        "_expected",
        "_floor",
        "_interrupted",
        "_processed",
        "_ratio",
        "_size",
        "_spent",
    )

    def __init__(self, ratio: float = 0.05, window_seconds: float = 300.0, floor: float = 1000.0) -> None:
        self._ratio = ratio
        self._floor = floor
        self._processed = DecayedRate(window_seconds)
        self._spent = DecayedRate(window_seconds)
        self._size = 0.0
        self._interrupted = 0.0
        self._expected = 0.0

    def expect(self, size: float) -> None:
        """Take in how many tokens of prompt and answer an interruption of a request would stop, as one may expect.

        Counts until there are interruptions.
        """
        self._expected += (size - self._expected) / (SIZES_REMEMBERED if self._expected else 1.0)

    def deposit(self, tokens: float, now: float) -> None:
        """Count processed tokens of prompt and answer; ``now`` is in seconds."""
        self._processed.add(tokens, now)

    def withdraw(self, tokens: float, now: float, running: float = 0.0, size: float | None = None) -> bool:
        """Pay for recomputing ``tokens``; return whether the budget allows it.

        Args:
            running: tokens processed so far of answers that run and are not deposited yet.
            size: tokens of prompt and answer that are stopped; None where they are all computed again.
        """
        if tokens > self.left(now, running):
            return False
        self._spent.add(tokens, now)
        self._interrupted = min(self._interrupted + 1.0, SIZES_REMEMBERED)
        self._size += ((tokens if size is None else size) - self._size) / self._interrupted
        return True

    def correct(self, charged: float, recomputed: float, now: float) -> None:
        """Replace what was withdrawn for an interruption by what turned out to be computed again."""
        self._spent.add(max(recomputed - charged, -self._spent.total(now)), now)

    def interruptions_left(self, now: float, recomputed_share: float) -> float:
        """Return how many interruptions the tokens that are left now pay for; none while nothing could be interrupted.

        Args:
            recomputed_share: share of an interrupted answer that is expected to be computed again.
        """
        size = self._size if self._interrupted else self._expected
        return max(0.0, self.left(now)) / max(1.0, recomputed_share * size) if size else 0.0

    def left(self, now: float, running: float = 0.0) -> float:
        """Return the tokens that may still be recomputed now; negative where more was than the share allows now."""
        return self._ratio * (self._processed.total(now) + running) + self._floor - self._spent.total(now)
