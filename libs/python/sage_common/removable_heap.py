"""A min-heap from which anything can be removed."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

I = TypeVar("I", bound=Hashable)  # noqa: E741 - an item

# Removed entries stay in the heap until they surface; beyond twice the live ones plus this many it is rebuilt.
SLACK = 64


class RemovableHeap(Generic[I]):
    """Items by key, smallest first. ``push``, ``remove`` and ``peek`` are O(log n) amortised.

    Keys must be unique (end them in a sequence number), so that items themselves are never compared.
    """

    __slots__ = ("_heap", "_keys")

    def __init__(self) -> None:
        self._heap: list[tuple[Any, I]] = []
        self._keys: dict[I, Any] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, item: I) -> bool:
        return item in self._keys

    def key(self, item: I) -> Any:
        """Return the key of ``item``; None when it is not here."""
        return self._keys.get(item)

    def push(self, item: I, key: Any) -> None:
        """Put ``item`` at ``key``; its key before no longer holds."""
        keys, heap = self._keys, self._heap
        keys[item] = key
        heapq.heappush(heap, (key, item))
        if len(heap) > 2 * len(keys) + SLACK:
            self._clear_out()

    def remove(self, item: I) -> bool:
        """Take ``item`` out; return whether it was there."""
        if self._keys.pop(item, None) is None:
            return False
        if len(self._heap) > 2 * len(self._keys) + SLACK:
            self._clear_out()
        return True

    def peek(self) -> tuple[Any, I] | None:
        """Return the smallest key and its item, which stays."""
        heap, keys = self._heap, self._keys
        while heap:
            first = heap[0]
            if keys.get(first[1]) is first[0]:
                return first
            heapq.heappop(heap)
        return None

    def _clear_out(self) -> None:
        self._heap = [(key, live) for live, key in self._keys.items()]
        heapq.heapify(self._heap)
