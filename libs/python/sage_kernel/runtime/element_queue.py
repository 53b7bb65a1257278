"""The queue of one input: how much waits there, and whether its sender may go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import polars as pl

from sage_kernel.runtime.elements import Element, Watermark, have_same_fields
from sage_kernel.runtime.spilled_frame import SpilledFrame

# A queue is full at the first of these three limits: a batch of small records holds many, one of documents many bytes.
MAX_QUEUED_RECORDS = 131_072
MAX_QUEUED_BYTES = 64 * 1024 * 1024
# A batch counts as one from this size on. Models give out single records: a few of them are no full queue, and they are
# taken out together.
SMALL_BATCH_RECORDS = 256
_MOST_TOGETHER = 4096


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
        capacity_batches: most batches before it is full; small ones count together.
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
        has_batches = self._batches >= self._capacity and self._records >= self._capacity * SMALL_BATCH_RECORDS
        return has_batches or self._records >= MAX_QUEUED_RECORDS or self._bytes >= MAX_QUEUED_BYTES

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
        """Take the first one out, small batches that follow each other as one."""
        element = self._pop()
        if not isinstance(element, pl.DataFrame) or element.height >= SMALL_BATCH_RECORDS:
            return element
        pieces, records = [element], element.height
        while self._elements:
            following = self._elements[0][0]
            if (
                not isinstance(following, pl.DataFrame)
                or records + following.height > _MOST_TOGETHER
                or not have_same_fields(following, element)
            ):
                break
            self._pop()
            pieces.append(following)
            records += following.height
        return element if len(pieces) == 1 else pl.concat(pieces, how="vertical")

    def waiting(self) -> Iterator[Element]:
        """Yield everything that waits."""
        return (element for element, _ in self._elements)

    def close(self) -> None:
        """Let everything go."""
        self._elements.clear()
        self._batches = self._records = self._bytes = 0

    def _pop(self) -> Element:
        element, size = self._elements.popleft()
        if isinstance(element, pl.DataFrame):
            self._count(-1, -element.height, -size)
        return element

    def _count(self, batches: int, records: int, size: int) -> None:
        self._batches += batches
        self._records += records
        self._bytes += size
