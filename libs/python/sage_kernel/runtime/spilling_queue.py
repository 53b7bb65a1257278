"""A queue that is never full: what does not fit into memory waits on the disk, and comes back in its order."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from sage_common.errors import UnavailableError
from sage_kernel.runtime.element_queue import MemoryQueue
from sage_kernel.runtime.elements import Element, Watermark
from sage_kernel.runtime.spilled_frame import SpilledFrame, SpillSegment

# Files are given back whole, so a queue that is read while it is written does not keep what it has read.
SEGMENT_BYTES = 64 * 1024 * 1024
# What is written at once: a file of single records would be slow to read.
SPILLED_RECORDS = 1024
SPILLED_BYTES = 1024 * 1024


class SpillingQueue:
    """Keeps the first batches in memory and writes the others to the disk.

    Args:
        capacity_batches: most batches in memory.
        folder: where the files are.
    """

    def __init__(self, capacity_batches: int, folder: Path) -> None:
        self._memory = MemoryQueue(capacity_batches)
        self._folder = folder
        self._spilled: deque[Element | SpilledFrame] = deque()
        # Small batches that follow each other, on their way to the disk as one.
        self._tail: list[pl.DataFrame] = []
        self._tail_records = 0
        self._spilled_records = 0
        self._segment: SpillSegment | None = None

    @property
    def is_full(self) -> bool:
        """Never."""
        return False

    @property
    def records(self) -> int:
        """How many records wait, in memory and on the disk."""
        return self._memory.records + self._spilled_records

    def __len__(self) -> int:
        return len(self._memory) + len(self._spilled) + bool(self._tail)

    def put(self, element: Element) -> None:
        """Add an element. Raises UnavailableError where the disk takes no more."""
        if not self._spilled and not self._tail and not self._memory.is_full:
            self._memory.put(element)
        elif isinstance(element, pl.DataFrame):
            if self._tail and self._tail[0].schema != element.schema:
                self._spill_tail()
            self._tail.append(element)
            self._tail_records += element.height
            self._spilled_records += element.height
            if self._tail_records >= SPILLED_RECORDS or element.estimated_size() >= SPILLED_BYTES:
                self._spill_tail()
        else:
            self._spill_tail()
            last = self._spilled[-1] if self._spilled else None
            if isinstance(element, Watermark) and isinstance(last, Watermark):
                self._spilled.pop()
            self._spilled.append(element)

    def get(self) -> Element:
        """Take the first one out. Raises OSError where it cannot be read back."""
        element = self._memory.get()
        while (self._spilled or self._tail) and not self._memory.is_full:
            if not self._spilled:
                for frame in self._tail:
                    self._memory.put(frame)
                self._spilled_records -= self._tail_records
                self._tail, self._tail_records = [], 0
                break
            first = self._spilled[0]
            if isinstance(first, SpilledFrame):
                self._memory.put(first.read())
                self._spilled_records -= first.height
            else:
                self._memory.put(first)
            self._spilled.popleft()
        if not self._spilled:
            self._segment = None
        return element

    def waiting(self) -> Iterator[Element | SpilledFrame]:
        """Yield everything that waits; what is on the disk stays there."""
        yield from self._memory.waiting()
        yield from self._spilled
        yield from self._tail

    def close(self) -> None:
        """Let everything go, the files too."""
        self._memory.close()
        self._spilled.clear()
        self._tail, self._tail_records = [], 0
        self._spilled_records = 0
        self._segment = None

    def _spill_tail(self) -> None:
        if self._tail:
            frame = self._tail[0] if len(self._tail) == 1 else pl.concat(self._tail, how="vertical")
            self._spilled.append(self._spill(frame))
            self._tail, self._tail_records = [], 0

    def _spill(self, frame: pl.DataFrame) -> SpilledFrame:
        try:
            if self._segment is None or self._segment.bytes >= SEGMENT_BYTES:
                self._segment = SpillSegment(self._folder)
            offset, length = self._segment.write(frame)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            what = "has no room left" if full else f"cannot be written ({error.strerror or error})"
            raise UnavailableError(
                f"{self.records} records wait for others, and the disk that they wait on {what}; free space in "
                f"{self._folder}, or read the two streams from sources of their own",
                code="spill_failed",
            ) from error
        return SpilledFrame(self._segment, offset, length, frame.height)
