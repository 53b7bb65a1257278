"""Two attempts at a request that run at once, a hedge and the attempt beside which it runs. No I/O."""

from __future__ import annotations

from sage_control_plane.request.request import Attempt


class HedgedPair:
    """What an edge knows of them. Whichever's first byte comes first is the answer; an error of one is not.

    Attributes:
        tries: dispatches that the request has had, as far as the scheduler said so with a hedge.
    """

    __slots__ = ("_failed", "_pair", "tries")

    def __init__(self) -> None:
        self._pair: tuple[Attempt, Attempt] | None = None
        self._failed: Attempt | None = None
        self.tries = 0

    def meet(self, hedge: Attempt, beside: int) -> None:
        """A hedge runs beside the dispatch of this number."""
        pair = (Attempt(hedge.submission, beside), hedge)
        if pair != self._pair:
            self._pair = pair
            self._failed = None

    def are(self, one: Attempt, other: Attempt) -> bool:
        """Whether the two run beside each other."""
        return self._pair is not None and one != other and one in self._pair and other in self._pair

    def awaited_after(self, failed: Attempt) -> bool:
        """An attempt failed before its first byte: return whether the other may answer yet.

        It may until it has failed here too; of any other end the scheduler tells.
        """
        if self._pair is None or failed not in self._pair:
            return False
        if self._failed is not None and self._failed != failed:
            return False
        self._failed = failed
        return True
