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
    """What takes the elements of an edge."""

    async def accept(self, element: Element, input_index: int) -> None:
        """Take an element of the input with this position, waiting while there is no room."""
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

    async def emit(self, frame: pl.DataFrame, port: str = "") -> None:
        """Send records, waiting for the slowest of the nodes behind. Nothing is sent where there are none."""
        if frame.height == 0:
            return
        for edge in self._edges:
            if edge.port == port:
                await edge.receiver.accept(frame, edge.input_index)
        if not port:
            self._counts.records_out += frame.height
        elif port == LATE_PORT:
            self._counts.records_late += frame.height
        self._changed()

    async def emit_all(self, emissions: Iterable[Emission]) -> None:
        """Send what an operator gave out."""
        for emission in emissions:
            await self.emit(emission.frame, emission.port)

    async def mark(self, mark: Watermark | Barrier | End) -> None:
        """Send a mark along every edge."""
        for edge in self._edges:
            await edge.receiver.accept(mark, edge.input_index)
