"""Cutting a stream's events apart, and the data in one. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


def each_event(events: bytes) -> Iterator[bytes]:
    """Cut whole events into single ones, each with the blank line that ends it; joined they are the same bytes."""
    # Where each kind of end comes next; each is looked for once over the whole.
    ends = {end: at for end in _EVENT_ENDS if (at := events.find(end)) >= 0}
    start = 0
    while ends:
        end = min(ends, key=lambda one: ends[one])
        stop = ends[end] + len(end)
        yield events[start:stop]
        start = stop
        for one in list(ends):
            if ends[one] < start:
                ends[one] = events.find(one, start)
                if ends[one] < 0:
                    del ends[one]
    if start < len(events):
        yield events[start:]


def first_end(events: bytes) -> int:
    """Return where the first event ends, its blank line included; the length where none does."""
    ends = [at + len(end) for end in _EVENT_ENDS if (at := events.find(end)) >= 0]
    return min(ends, default=len(events))


def data_of(event: bytes) -> bytes:
    """Return an event's data: its lines ``data:``, joined."""
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def with_data(event: bytes, data: bytes) -> bytes:
    """Return an event of several lines, or with other line ends, with this as its data."""
    lines = event.splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if line.startswith(b"data:")]
    first = lines[places[0]]
    end = first[len(first.rstrip(b"\r\n")) :]
    kept = [line for number, line in enumerate(lines) if number not in places[1:]]
    kept[places[0]] = b"data: " + data + end
    return b"".join(kept)
