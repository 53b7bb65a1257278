"""Cuts what comes in into slices of at most so many records, for the calls of an asynchronous operator."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import polars as pl

from sage_kernel.runtime.elements import Watermark


class Slice(NamedTuple):
    """Records for one call (None where only a watermark waits), and the watermark that goes behind them."""

    frame: pl.DataFrame | None
    watermark: Watermark | None


class SliceBuffer:
    """Frames and watermarks in order. A slice may take in records from both sides of a watermark, which then goes
    behind it: later is always right for a watermark, and small batches do not make small calls.

    Args:
        most: records of a slice.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.records = 0
        self._entries: deque[pl.DataFrame | Watermark] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, element: pl.DataFrame | Watermark) -> None:
        """Add records or a watermark."""
        if isinstance(element, pl.DataFrame):
            self.records += element.height
        elif self._entries and isinstance(self._entries[-1], Watermark):
            self._entries.pop()
        self._entries.append(element)

    def take(self) -> Slice:
        """Return the next slice; records of different fields are never in one."""
        pieces: list[pl.DataFrame] = []
        watermark: Watermark | None = None
        room = self.most
        while self._entries:
            first = self._entries[0]
            if isinstance(first, Watermark):
                watermark = first
                self._entries.popleft()
                continue
            if room == 0 or (pieces and first.schema != pieces[0].schema):
                break
            self._entries.popleft()
            if first.height > room:
                self._entries.appendleft(first[room:])
                first = first[:room]
            pieces.append(first)
            room -= first.height
        self.records -= self.most - room
        if not pieces:
            return Slice(None, watermark)
        return Slice(pieces[0] if len(pieces) == 1 else pl.concat(pieces, how="vertical"), watermark)

    def elements(self) -> list[pl.DataFrame | Watermark]:
        """Return everything, in order."""
        return list(self._entries)
