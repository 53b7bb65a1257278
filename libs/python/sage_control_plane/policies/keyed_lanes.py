"""A priority queue of request ids in lanes that can be closed."""

from __future__ import annotations

from typing import Any

from sage_common.removable_heap import RemovableHeap
from sage_control_plane.policies.lanes import Lane


class KeyedLanes:
    """The queued id with the smallest key among the open lanes, in O(log n).

    Each lane is a heap; a heap of the open lanes' first keys finds the best of them. Keys must be unique.
    """

    def __init__(self) -> None:
        self._lanes: dict[Lane, RemovableHeap[str]] = {}
        self._lane_of: dict[str, Lane] = {}
        self._heads: RemovableHeap[Lane] = RemovableHeap()
        self._closed: set[Lane] = set()

    def __len__(self) -> int:
        return len(self._lane_of)

    def push(self, request_id: str, lane: Lane, key: Any) -> None:
        """Queue an id that is not queued."""
        heap = self._lanes.get(lane)
        if heap is None:
            heap = self._lanes[lane] = RemovableHeap()
        heap.push(request_id, key)
        self._lane_of[request_id] = lane
        if lane not in self._closed:
            self._show_head(lane, heap)

    def remove(self, request_id: str) -> bool:
        """Take an id out; return whether it was queued."""
        lane = self._lane_of.pop(request_id, None)
        if lane is None:
            return False
        heap = self._lanes[lane]
        heap.remove(request_id)
        if not heap:
            del self._lanes[lane]
            self._closed.discard(lane)
            self._heads.remove(lane)
        elif lane not in self._closed:
            self._show_head(lane, heap)
        return True

    def first(self) -> str | None:
        """Return the id with the smallest key among the open lanes; None when they are empty."""
        head = self._heads.peek()
        if head is None:
            return None
        first = self._lanes[head[1]].peek()
        return first[1] if first else None

    def open(self, lane: Lane) -> None:
        """Show the lane to ``first`` again."""
        if lane in self._closed:
            self._closed.discard(lane)
            self._show_head(lane, self._lanes[lane])

    def close(self, lane: Lane) -> None:
        """Hide the lane from ``first`` until it is opened."""
        if lane in self._lanes:
            self._closed.add(lane)
            self._heads.remove(lane)

    def _show_head(self, lane: Lane, heap: RemovableHeap[str]) -> None:
        first = heap.peek()
        shown = self._heads.key(lane)
        if first is not None and shown is not first[0]:
            self._heads.push(lane, first[0])
