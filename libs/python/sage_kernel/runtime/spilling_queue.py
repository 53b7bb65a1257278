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
        return len(self._memory) + len(self._spilled)

    def put(self, element: Element) -> None:
        """Add an element. Raises UnavailableError where the disk takes no more."""
        if not self._spilled and not self._memory.is_full:
            self._memory.put(element)
        elif isinstance(element, pl.DataFrame):
            self._spilled.append(self._spill(element))
            self._spilled_records += element.height
        else:
            if isinstance(element, Watermark) and isinstance(self._spilled[-1] if self._spilled else None, Watermark):
                self._spilled.pop()
            self._spilled.append(element)

    def get(self) -> Element:
        """Take the first one out. Raises OSError where it cannot be read back."""
        element = self._memory.get()
        while self._spilled and not self._memory.is_full:
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

    def close(self) -> None:
        """Let everything go, the files too."""
        self._memory.close()
        self._spilled.clear()
        self._spilled_records = 0
        self._segment = None

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
