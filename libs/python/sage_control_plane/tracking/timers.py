"""What is due when."""

from __future__ import annotations

from collections.abc import Hashable

from sage_common.removable_heap import RemovableHeap


class Deadlines:
    """One entry for each (kind, subject)."""

    def __init__(self) -> None:
        self._heap: RemovableHeap[tuple[str, Hashable]] = RemovableHeap()
        self._sequence = 0

    def arm(self, kind: str, subject: Hashable, at: float) -> None:
        """Make (kind, subject) due at ``at`` instead of whenever it was before."""
        self._sequence += 1
        self._heap.push((kind, subject), (at, self._sequence))

    def arm_once(self, kind: str, subject: Hashable, at: float) -> None:
        """Make it due at ``at`` unless it is due already."""
        if (kind, subject) not in self._heap:
            self.arm(kind, subject, at)

    def disarm(self, kind: str, subject: Hashable) -> None:
        """Forget it."""
        self._heap.remove((kind, subject))

    def __contains__(self, item: tuple[str, Hashable]) -> bool:
        return item in self._heap

    def first_at(self) -> float | None:
        """When the first is due."""
        first = self._heap.peek()
        return first[0][0] if first else None

    def pop_due(self, now: float) -> tuple[str, Hashable] | None:
        """Take out and return the first that is due at ``now``."""
        first = self._heap.peek()
        if first is None or first[0][0] > now:
            return None
        self._heap.remove(first[1])
        return first[1]
