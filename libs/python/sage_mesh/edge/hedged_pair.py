"""Two attempts at one request that run at once, as its edge knows them."""

from __future__ import annotations

from sage_control_plane.request.request import Attempt


class HedgedPair:
    """Two attempts at a request that run at once: a hedge, and the attempt that it hedges.

    The attempt whose first byte comes first is the answer; the error of only one of them is not.

    Attributes:
        tries: dispatches that the request has had, by the scheduler's notice of the hedge; 0 without one.
    """

    __slots__ = ("_failed", "_pair", "tries")

    def __init__(self) -> None:
        self._pair: tuple[Attempt, Attempt] | None = None
        self._failed: Attempt | None = None
        self.tries = 0

    def record(self, hedge: Attempt, hedge_of: int) -> None:
        """Take in that ``hedge`` runs at the same time as the dispatch with the number ``hedge_of``."""
        pair = (Attempt(hedge.submission, hedge_of), hedge)
        if pair != self._pair:
            self._pair = pair
            self._failed = None

    def holds(self, one: Attempt, other: Attempt) -> bool:
        """Return whether these are the two attempts of the pair."""
        return self._pair is not None and one != other and one in self._pair and other in self._pair

    def other_may_answer(self, failed: Attempt) -> bool:
        """Take in that an attempt failed before its first byte; return whether the other may still answer.

        It may until it has failed here too; of any other end the scheduler sends word.
        """
        if self._pair is None or failed not in self._pair:
            return False
        if self._failed is not None and self._failed != failed:
            return False
        self._failed = failed
        return True
