"""Cutting a piece of a stream into its events, each with the blank line that ends it."""

from __future__ import annotations

from collections.abc import Iterator

_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


def each_event(events: bytes) -> Iterator[bytes]:
    """Give the events of a piece that holds whole ones; they joined are the piece."""
    end = next((end for end in _ENDS if end in events), _ENDS[0])
    start = 0
    while (at := events.find(end, start)) >= 0:
        yield events[start : at + len(end)]
        start = at + len(end)
    if start < len(events):
        yield events[start:]
