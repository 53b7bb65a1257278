"""The queue of one input: how much waits there, and whether its sender may go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import polars as pl

from sage_kernel.runtime.elements import Element, Watermark
from sage_kernel.runtime.spilled_frame import SpilledFrame

# A queue is full at the first of these three limits: a batch of small records holds many, one of documents many bytes.
MAX_QUEUED_RECORDS = 131_072
MAX_QUEUED_BYTES = 64 * 1024 * 1024


class ElementQueue(Protocol):
    """First in, first out. It takes an element also when it is full: that is for its sender to heed."""

    @property
    def is_full(self) -> bool:
        """Whether the sender must not begin anything further."""
        ...

    @property
    def records(self) -> int:
        """How many records wait."""
        ...

    def __len__(self) -> int:
        """How many elements wait."""
        ...

    def put(self, element: Element) -> None:
        """Add an element."""
        ...

    def get(self) -> Element:
        """Take the first one out. Raises IndexError where there is none."""
        ...

    def waiting(self) -> Iterator[Element | SpilledFrame]:
        """Yield everything that waits, in order, without taking it out; what is on the disk stays there."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class MemoryQueue:
    """Keeps everything in memory.

    Args:
        capacity_batches: most batches before it is full.
    """

    def __init__(self, capacity_batches: int) -> None:
        self._capacity = capacity_batches
        self._elements: deque[tuple[Element, int]] = deque()
        self._batches = 0
        self._records = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether one of the limits is reached."""
        return self._batches >= self._capacity or self._records >= MAX_QUEUED_RECORDS or self._bytes >= MAX_QUEUED_BYTES

    @property
    def records(self) -> int:
        """How many records wait."""
        return self._records

    def __len__(self) -> int:
        return len(self._elements)

    def put(self, element: Element) -> None:
        """Add an element."""
        size = 0
        if isinstance(element, pl.DataFrame):
            size = int(element.estimated_size())
            self._count(1, element.height, size)
        elif isinstance(element, Watermark) and self._elements and isinstance(self._elements[-1][0], Watermark):
            # The later one says it all. Where a filter lets nothing through, nothing else would bound them.
            self._elements.pop()
        self._elements.append((element, size))

    def get(self) -> Element:
        """Take the first one out."""
        element, size = self._elements.popleft()
        if isinstance(element, pl.DataFrame):
            self._count(-1, -element.height, -size)
        return element

    def waiting(self) -> Iterator[Element]:
        """Yield everything that waits."""
        return (element for element, _ in self._elements)

    def close(self) -> None:
        """Let everything go."""
        self._elements.clear()
        self._batches = self._records = self._bytes = 0

    def _count(self, batches: int, records: int, size: int) -> None:
        self._batches += batches
        self._records += records
        self._bytes += size
