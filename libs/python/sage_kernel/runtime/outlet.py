"""Where a node's output goes: to every node behind it, inline or through its queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import polars as pl

from sage_kernel.nodes import LATE_PORT
from sage_kernel.operator import Emission
from sage_kernel.runtime.elements import Barrier, Element, End, Watermark
from sage_kernel.runtime.progress import NodeCounts


class Receiver(Protocol):
    """What takes the elements of an edge.

    It takes whatever it is given without waiting for room, so that a barrier never stands behind records that wait.
    Senders begin nothing new while it has no room.
    """

    async def accept(self, element: Element, input_index: int) -> None:
        """Take an element of the input with this position."""
        ...

    def has_room(self, input_index: int) -> bool:
        """Return whether the sender may go on."""
        ...

    def on_room(self, input_index: int, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever there may be room again."""
        ...


class _Edge(NamedTuple):
    port: str
    receiver: Receiver
    input_index: int


class Outlet:
    """Sends a node's records by their port, and its marks to everyone; counts what is sent."""

    def __init__(self, counts: NodeCounts, changed: Callable[[], None]) -> None:
        self._edges: list[_Edge] = []
        self._counts = counts
        self._changed = changed

    def connect(self, port: str, receiver: Receiver, input_index: int) -> None:
        """Add a follower."""
        self._edges.append(_Edge(port, receiver, input_index))

    def has_room(self) -> bool:
        """Return whether all nodes behind have room."""
        return all(edge.receiver.has_room(edge.input_index) for edge in self._edges)

    def on_room(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever a node behind may have room again."""
        for edge in self._edges:
            edge.receiver.on_room(edge.input_index, wake)

    async def emit(self, frame: pl.DataFrame, port: str = "") -> None:
        """Send records. Nothing is sent where there are none."""
        if frame.height == 0:
            return
        taken = False
        for edge in self._edges:
            if edge.port == port:
                taken = True
                await edge.receiver.accept(frame, edge.input_index)
        if not port:
            self._counts.records_out += frame.height
        elif port.startswith(LATE_PORT):
            self._counts.records_late += frame.height
            self._counts.records_dropped += 0 if taken else frame.height
        self._changed()

    async def emit_all(self, emissions: Iterable[Emission]) -> None:
        """Send what an operator gave out."""
        for emission in emissions:
            await self.emit(emission.frame, emission.port)

    async def mark(self, mark: Watermark | Barrier | End) -> None:
        """Send a mark along every edge."""
        if isinstance(mark, Watermark):
            self._counts.watermark_us = mark.time_us
        for edge in self._edges:
            await edge.receiver.accept(mark, edge.input_index)
